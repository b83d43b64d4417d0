import io

import numpy as np
import torch
from PIL import Image

from smoothmix import Cutout, Identity
from smoothmix.reporting.mixed_batch import mixed_batch


def test_the_picture_shows_the_images_and_what_becomes_of_them():
    images, labels = torch.full((4, 3, 32, 32), 0.5), torch.arange(4)
    strategy = Cutout(num_classes=4, p=0.0, size=16)  # p is of the training; a picture shows what is done
    pixels = np.asarray(Image.open(io.BytesIO(mixed_batch(strategy, images, labels))))
    assert pixels.shape == (2 * 34, 4 * 34, 3)
    above, below = pixels[:34], pixels[34:]
    assert (above == 128).sum() == 4 * 32 * 32 * 3
    assert (below == 0).any()
    assert mixed_batch(Identity(num_classes=4), images, labels) is None


def test_large_images_are_shown_small():
    picture = mixed_batch(Cutout(num_classes=4, size=112), torch.rand(8, 3, 224, 224), torch.arange(8) % 4)
    assert Image.open(io.BytesIO(picture)).width == 600
