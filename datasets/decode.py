"""From an image file to the pixels that a network sees."""

import os
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor
from torch.utils.data import Dataset

from smoothmix.utils.errors import UserError

# What files may hold, whatever they are called. Pillow would try all it knows, and hand PostScript to Ghostscript.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "GIF", "TIFF", "WEBP")
STRIP = 256  # of the longer to the shorter side, at most

Box = tuple[int, int, int, int]  # top, left, height, width, in pixels


def load_rgb(path: str, transform: Callable[[Image.Image], Image.Image] = lambda image: image) -> Image.Image:
    """Return what `transform` makes of an image as RGB: grey is repeated, a palette looked up, alpha dropped.

    Raises:
        UserError: the file is no image, or a damaged one, or one that `transform` refuses.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.mode[0] in "IF":  # convert would cut off what is above 255, and not scale it
                raise ValueError(f"it has more than 8 bits per channel, in mode {image.mode}; save it with 8")
            image.load()
            return transform(image if image.mode == "RGB" else image.convert("RGB"))  # convert() always copies
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise UserError(f"cannot read the image {path} ({error}): replace the file or remove it") from error


def center_crop(image: Image.Image, size: int, resize: int) -> Image.Image:
    """Resize the shorter side to `resize` (bilinear, antialiased) and cut out the central square of side `size`.

    Raises:
        UserError: the image is a strip, which would become huge.
    """
    short = min(image.size)
    if max(image.size) > STRIP * short:
        raise UserError(f"it has {image.width}x{image.height} pixels, more than {STRIP}:1")
    width, height = (int(resize * side / short) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.resize((width, height), Resampling.BILINEAR).crop((left, top, left + size, top + size))


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
