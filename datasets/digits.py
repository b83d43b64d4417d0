"""Scikit-learn's handwritten digits, in CIFAR's shape: real images that need no download."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from datasets.in_memory import InMemoryData
from datasets.sampling import hold_out
from smoothmix.utils.errors import UserError

MEAN, STD = 0.3054, 0.3239  # of the pixels of the 1,437 training images in [0, 1], after the upsampling
TEST_IMAGES = 360


def digits(val_split: int = 0) -> InMemoryData:
    """Return the 1,797 digits of `sklearn.datasets.load_digits` (8x8, values 0..16) as 32x32 RGB images in 0..255.

    Upsampled bilinearly; 1,437 for training and 360 for testing, the same share of each class, always the same ones.
    A digit's mirror image is no digit, so training images are only padded by 4 pixels and cropped.

    Args:
        val_split: how many training images to hold out as the split "val".

    Raises:
        UserError: scikit-learn is not installed.
    """
    # only the file: to import scikit-learn takes longer than all else that a run of the digits begins with
    if (library := find_spec("sklearn")) is None:
        raise UserError("the digits are part of scikit-learn; run `pip install scikit-learn`")
    (folder,) = library.submodule_search_locations
    table = torch.tensor(np.loadtxt(Path(folder, "datasets", "data", "digits.csv.gz"), dtype=np.int64, delimiter=","))
    small, labels = table[:, :64].float().reshape(-1, 1, 8, 8), table[:, 64]
    # Interpolation weights are multiples of 1/64, so the sums are exact and every machine gets the same pixels.
    large = F.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    images = (large * (255 / 16)).round().to(torch.uint8).expand(-1, 3, -1, -1)
    train, test = hold_out(labels, TEST_IMAGES)
    return InMemoryData(
        (images[train], labels[train]),
        (images[test], labels[test]),
        class_names=[str(digit) for digit in range(10)],
        mean=(MEAN,) * 3,
        std=(STD,) * 3,
        padding=4,
        flip=False,
        val_split=val_split,
    )
