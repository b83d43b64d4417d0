"""Augmentation of single training images after crop and flip: none, AutoAugment, or AugMix."""

import difflib
from typing import Protocol

from PIL.Image import Image
from torch import Tensor

from datasets.augment import to_float
from datasets.augmix import AugMix
from datasets.decode import pixels
from smoothmix.utils.errors import UserError

AUGMENTATIONS = ("none", "autoaugment", "augmix")


class ImageAugment(Protocol):
    """Makes `views` images of one: called in a worker, finished on the device."""

    views: int

    def __call__(self, image: Image, seed: int) -> tuple[Tensor, ...]:
        """Augment an RGB image (S, S) with the random numbers that follow from `seed`."""

    def to_float(self, *columns: Tensor) -> Tensor:
        """Turn what n calls returned, stacked, into float32 (views * n, 3, S, S) in [0, 1]."""


def check_augment(name: str) -> None:
    """Raise UserError unless `name` is one of `AUGMENTATIONS`."""
    if name not in AUGMENTATIONS:
        close = difflib.get_close_matches(name, AUGMENTATIONS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"augment={name} is not one of {', '.join(AUGMENTATIONS)}{hint}")


def image_augment(name: str, policy: str, severity: int) -> ImageAugment:
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
        from datasets.autoaugment import AutoAugment  # imports torchvision, which takes seconds

        return AutoAugment(policy)
    if name == "augmix":
        return AugMix(severity)
    return Unchanged()


class Unchanged:
    """No augmentation beyond crop and flip."""

    views = 1

    def __call__(self, image: Image, seed: int) -> tuple[Tensor, ...]:
        """Return the image as uint8 (S, S, 3)."""
        return (pixels(image),)

    def to_float(self, images: Tensor) -> Tensor:
        """Return uint8 (n, S, S, 3) as float32 (n, 3, S, S) in [0, 1]."""
        return to_float(images.permute(0, 3, 1, 2))
