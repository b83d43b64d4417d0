"""From an image file to the pixels a network sees of it; in a worker."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

from smoothmix.utils.errors import UserError

# What files may hold, whatever they are called. Pillow would try all it knows, and hand PostScript to Ghostscript.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "GIF", "TIFF", "WEBP")

Box = tuple[int, int, int, int]  # top, left, height, width, in pixels
Crop = Callable[[str, int, Callable[[int, int], Box]], Image.Image]


def load_rgb(path: str) -> Image.Image:
    """Return an image of any mode as RGB: grey is repeated, a palette looked up, alpha dropped.

    Raises:
        UserError: the file is no image, or a damaged one.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.mode[0] in "IF":  # convert would cut off what is above 255, and not scale it
                raise ValueError(f"it has more than 8 bits a channel, in mode {image.mode}; save it with 8")
            image.load()
            return image if image.mode == "RGB" else image.convert("RGB")  # convert() always copies
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise _unreadable(path, error) from error


def center_crop(image: Image.Image, size: int, resize: int) -> Image.Image:
    """Resize the shorter side to `resize` (bilinear, antialiased) and cut out the central square of side `size`."""
    short = min(image.size)
    width, height = (int(resize * side / short) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.resize((width, height), Resampling.BILINEAR).crop((left, top, left + size, top + size))


def crop_of(name: str) -> Crop:
    """Return :func:`exact_crop` for "exact", :func:`fast_crop` for "fast"; raise UserError for another name."""
    crops: dict[str, Crop] = {"exact": exact_crop, "fast": fast_crop}
    if name not in crops:
        raise UserError(f"decode={name} is neither exact nor fast: choose one of the two")
    return crops[name]


def exact_crop(path: str, size: int, draw: Callable[[int, int], Box]) -> Image.Image:
    """Return a box of an image, resized to `size` x `size` (bilinear, antialiased), in RGB.

    Args:
        path: the file.
        size: side of the result, in pixels.
        draw: (height, width) of the image -> the box.

    Raises:
        UserError: the file is no image, or a damaged one.
    """
    image = load_rgb(path)
    top, left, height, width = draw(image.height, image.width)
    # Cropped first, as torchvision does: resize(box=...) would let pixels from outside the crop in.
    image = image.crop((left, top, left + width, top + height))
    return image.resize((size, size), Resampling.BILINEAR)


def fast_crop(path: str, size: int, draw: Callable[[int, int], Box]) -> Image.Image:
    """Return nearly what :func:`exact_crop` returns, of JPEG files in less time; the arguments and errors are the same.

    A box at least twice as large as the result is decoded at 1/2, 1/4 or 1/8 of its size, but never smaller than the
    result: on smooth images up to 5 grey levels differ, 0.6 on average. Of any other, torch resizes the pixels, with
    weights of fewer bits than Pillow's: up to 2 grey levels differ. Other formats, and JPEGs in CMYK, are read by
    exact_crop.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:  # reads no more than the head
            if image.format != "JPEG" or image.mode not in ("RGB", "L"):
                return exact_crop(path, size, draw)
            box = draw(image.height, image.width)
            if min(box[2:]) >= 2 * size:
                return _reduced(image, box, size)
        return _by_torch(path, box, size)
    except UserError:
        raise
    except Exception as error:  # see load_rgb
        raise _unreadable(path, error) from error


def _reduced(image: Image.Image, box: Box, size: int) -> Image.Image:
    """Return `box` of a JPEG that was opened and not yet decoded, `size` x `size`."""
    top, left, height, width = box
    full = image.size
    divisor = min(height, width) // size
    # Decodes at the next larger of 1, 1/2, 1/4, 1/8; what the whole image covers then need not be whole pixels.
    _, (_, _, right, bottom) = image.draft(None, (full[0] // divisor, full[1] // divisor))
    x, y = right / full[0], bottom / full[1]
    inside = (left * x, top * y, (left + width) * x, (top + height) * y)
    return image.resize((size, size), Resampling.BILINEAR, box=inside).convert("RGB")


def _by_torch(path: str, box: Box, size: int) -> Image.Image:
    from torch.nn import functional as F
    from torchvision.io import ImageReadMode, decode_jpeg, read_file

    top, left, height, width = box
    pixels = decode_jpeg(read_file(path), ImageReadMode.RGB).permute(1, 2, 0)[None]
    pixels = pixels[:, top : top + height, left : left + width].permute(0, 3, 1, 2)  # channels_last, and stays so
    pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
    return Image.fromarray(pixels[0].permute(1, 2, 0).numpy())


def _unreadable(path: str, error: Exception) -> UserError:
    return UserError(f"cannot read the image {path} ({error}): replace the file or remove it")


def pixels(image: Image.Image) -> Tensor:
    """Return a copy of an RGB image as uint8 (H, W, 3)."""
    return torch.from_numpy(np.array(image))
