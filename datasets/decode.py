"""From an image file to the pixels that a network sees."""

import os
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor
from torch.utils.data import Dataset

from smoothmix.utils.errors import UserError, unreadable
from smoothmix.utils.pictures import FORMATS, to_rgb

Box = tuple[int, int, int, int]  # top, left, height, width, in pixels


def load_rgb(path: str, transform: Callable[[Image.Image], Image.Image] = lambda image: image) -> Image.Image:
    """Return what `transform` makes of an image as RGB: grey is repeated, a palette looked up, alpha dropped.

    Raises:
        UserError: the file is no image, or a damaged one, or one that `transform` refuses.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            return transform(to_rgb(image))
    except Exception as error:  # damaged files make Pillow raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(path, error) from error
        raise UserError(f"cannot read the image {path} ({error}): replace the file or remove it") from error


def resized_crop(image: Image.Image, box: Box, size: int) -> Image.Image:
    """Cut out a box and resize it to `size` x `size` (bilinear, antialiased)."""
    top, left, height, width = box
    # Cropped first, as torchvision does: resize(box=...) would let pixels from outside the crop in.
    return image.crop((left, top, left + width, top + height)).resize((size, size), Resampling.BILINEAR)


def pixels(image: Image.Image) -> Tensor:
    """Return a copy of an RGB image as uint8 (H, W, 3)."""
    return torch.from_numpy(np.array(image))


class EvalItems(Dataset):
    """Images by index, uint8 (H, W, 3) after a `transform`, and their labels; or a UserError for one that has none."""

    def __init__(self, paths: np.ndarray, labels: np.ndarray, transform: Callable[[Image.Image], Image.Image]):
        self.paths, self.labels, self.transform = paths, labels, transform

    def __getitem__(self, index: int) -> tuple[Tensor, ...] | UserError:
        path = os.fsdecode(self.paths[index])
        try:
            return pixels(load_rgb(path, self.transform)), torch.tensor(self.labels[index])
        except UserError as error:
            return error
