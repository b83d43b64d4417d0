"""From an image file to the pixels that a network sees."""

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

from smoothmix.utils.errors import UserError, unreadable

# What files may hold, whatever they are called. Pillow would try all it knows, and hand PostScript to Ghostscript.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "GIF", "TIFF", "WEBP")
LARGE = 1 << 24  # pixels: a resized image with more is not made as a whole
BITS = 22  # of Pillow's weights, after the point

Box = tuple[int, int, int, int]  # top, left, height, width, in pixels


def load_rgb(path: str) -> Image.Image:
    """Return an image of any mode as RGB: grey is repeated, a palette looked up, alpha dropped.

    Raises:
        UserError: the file is no image, or a damaged one.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.mode[0] in "IF":  # convert would cut off what is above 255, and not scale it
                raise ValueError(f"it has more than 8 bits per channel, in mode {image.mode}; save it with 8")
            image.load()
            return image if image.mode == "RGB" else image.convert("RGB")  # convert() always copies
    except Exception as error:  # damaged files make Pillow raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(path, error) from error
        raise UserError(f"cannot read the image {path} ({error}): replace the file or remove it") from error


def center_crop(image: Image.Image, size: int, resize: int) -> Image.Image:
    """Resize the shorter side to `resize` (bilinear, antialiased) and cut out the central square of side `size`.

    Of a strip that would become huge, the same pixels are computed without the rest.
    """
    short = min(image.size)
    width, height = (int(resize * side / short) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    if width * height <= LARGE:
        return image.resize((width, height), Resampling.BILINEAR).crop((left, top, left + size, top + size))
    x, columns = _weights(image.width, width, left, size)
    y, rows = _weights(image.height, height, top, size)
    box = image.crop((x[0], y[0], x[-1] + len(columns[-1]), y[-1] + len(rows[-1])))
    vertical, horizontal = (0, y, rows), (1, x, columns)
    first = height < image.height > 2 * image.width  # then Pillow reduces the height before it touches the width
    result = np.asarray(box)
    for axis, starts, weights in (vertical, horizontal) if first else (horizontal, vertical):
        result = _resample(result.swapaxes(0, axis), starts, weights).swapaxes(0, axis)
    return Image.fromarray(result)


def _weights(length: int, resized: int, first: int, count: int) -> tuple[list[int], list[np.ndarray]]:
    """Return what Pillow's bilinear resize takes pixels `first` to `first + count` from: first pixels and weights."""
    scale = length / resized
    support = max(scale, 1.0)
    starts, weights = [], []
    for center in (np.arange(first, first + count) + 0.5) * scale:
        start, end = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), length)
        weight = np.maximum(1 - np.abs((np.arange(start, end) - center + 0.5) * (1 / support)), 0)
        starts.append(start)
        weights.append((weight / weight.cumsum()[-1] * (1 << BITS) + 0.5).astype(np.int64))
    return starts, weights


def _resample(pixels: np.ndarray, starts: list[int], weights: list[np.ndarray]) -> np.ndarray:
    """Return weighted sums of rows: `pixels` (n, m, 3) uint8, whose row 0 is the pixel ``starts[0]``."""
    sums = [
        np.tensordot(weight, pixels[start - starts[0] :][: len(weight)].astype(np.int64), 1)
        for start, weight in zip(starts, weights, strict=True)
    ]
    return (np.stack(sums) + (1 << (BITS - 1)) >> BITS).clip(0, 255).astype(np.uint8)


def resized_crop(image: Image.Image, box: Box, size: int) -> Image.Image:
    """Cut out a box and resize it to `size` x `size` (bilinear, antialiased)."""
    top, left, height, width = box
    # Cropped first, as torchvision does: resize(box=...) would let pixels from outside the crop in.
    return image.crop((left, top, left + width, top + height)).resize((size, size), Resampling.BILINEAR)


def pixels(image: Image.Image) -> Tensor:
    """Return a copy of an RGB image as uint8 (H, W, 3)."""
    return torch.from_numpy(np.array(image))
