import io

import numpy as np
import torch
from PIL import Image

from smoothmix import Cutout, Identity
from smoothmix.reporting.mask_figures import mixed_batch


def test_the_picture_shows_the_images_and_what_becomes_of_them():
    images, labels = torch.full((4, 3, 32, 32), 0.5), torch.arange(4)
    strategy = Cutout(num_classes=4, p=0.0, size=16)  # p is of the training; a picture shows what is done
    pixels = np.asarray(Image.open(io.BytesIO(mixed_batch(strategy, images, labels, "abcd"))))
    above, below = pixels[4:132], pixels[136:264]
    assert (above == 128).sum() == 4 * 128 * 128 * 3
    assert (below == 0).any()
    assert mixed_batch(Identity(num_classes=4), images, labels, "abcd") is None
