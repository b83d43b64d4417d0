"""What happens to one training image after its crop and flip: nothing, AutoAugment, or AugMix.

Each of the three has `views`, the number of images it makes of one; a call, ``(PIL image, seed) -> tensors``, made in a
worker; and ``to_float(tensors of a batch) -> images (views * n, 3, S, S)`` in [0, 1], on the device.
"""

import difflib
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from datasets.augment import to_float
from smoothmix.utils.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

AUGMENTATIONS = ("none", "autoaugment", "augmix")


class PerImage(Protocol):
    """The three in one; see the module's docstring."""

    views: int

    def __call__(self, image: "Image", seed: int) -> tuple[Tensor, ...]:
        """Augment an RGB image with the random numbers that follow from `seed`."""

    def to_float(self, *columns: Tensor) -> Tensor:
        """Finish a batch of what calls returned."""


def check_augment(name: str) -> None:
    """Raise UserError unless `name` is one of the three."""
    if name not in AUGMENTATIONS:
        close = difflib.get_close_matches(name, AUGMENTATIONS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"augment={name} is not one of {', '.join(AUGMENTATIONS)}{hint}")


def per_image(name: str, policy: str, severity: int) -> PerImage:
    """Return the augmentation called `name`.

    Args:
        name: "none", "autoaugment" or "augmix".
        policy: of AutoAugment, "cifar10" or "imagenet".
        severity: of AugMix.

    Raises:
        UserError: another name.
    """
    check_augment(name)
    if name == "autoaugment":
        from datasets.autoaugment import AutoAugment

        return AutoAugment(policy)
    if name == "augmix":
        from datasets.augmix import AugMix

        return AugMix(severity)
    return Unchanged()


class Unchanged:
    """No augmentation beyond crop and flip."""

    views = 1

    def __call__(self, image: "Image", seed: int) -> tuple[Tensor, ...]:
        """Return the image as uint8 (S, S, 3)."""
        return (pixels(image),)

    def to_float(self, images: Tensor) -> Tensor:
        """Return uint8 (n, S, S, 3) as float32 (n, 3, S, S) in [0, 1]."""
        return to_float(images.permute(0, 3, 1, 2))


def pixels(image: "Image") -> Tensor:
    """Return a copy of an RGB image as uint8 (H, W, 3)."""
    return torch.from_numpy(np.array(image))
