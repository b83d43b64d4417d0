"""Boxes drawn over test images, as in the paper's Figure 2."""

import torch
from torch import Tensor

from smoothmix.utils.data import ImageDataset
from smoothmix.utils.errors import UserError
from smoothmix.utils.numerics import derive_seed

CONDITIONS = {"clean": "clean", "translucent": "50 % transparent box", "bordered": "opaque box, thick border"}
GREY, BLACK = 0.5, 0.0  # the paper names no colour; neither stands for "nothing" to networks trained with holes
TRANSPARENCY = 0.5


def box_side(image_size: int) -> int:
    """Return the side of a box in pixels: half the image's, Cutout's hole on CIFAR and on ImageNet."""
    return image_size // 2


def border_width(side: int) -> int:
    """Return the width of a thick border in pixels: an eighth of the box's side."""
    return max(1, side // 8)


def draw_corners(n: int, image_size: int, side: int, generator: torch.Generator) -> Tensor:
    """Draw the top left corners (y, x) of `n` boxes that lie inside the image: int64 (n, 2), uniform."""
    return torch.randint(0, image_size - side + 1, (n, 2), generator=generator)


def sample(data: ImageDataset, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor, int]:
    """Draw `n` test images and a box for each, by `seed` alone.

    Args:
        data: the data set.

    Returns:
        images uint8 (n, 3, S, S), labels int64 (n,), corners int64 (n, 2), all on the CPU; the box's side in pixels.

    Raises:
        UserError: `n` is not between 1 and the number of test images.
    """
    size = data.sizes["test"]
    if not 1 <= n <= size:
        raise UserError(f"{n} images were asked for, but the test set has {size}; give a number from 1 to {size}")
    generator = torch.Generator().manual_seed(derive_seed(seed, "occlusion"))
    chosen = torch.randperm(size, generator=generator)[:n].tolist()
    batches = list(data.image_batches("test", [range(index, index + 1) for index in chosen]))
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    side = box_side(data.image_size)
    return images, labels, draw_corners(n, data.image_size, side, generator), side


def boxes(corners: Tensor, side: int, image_size: int) -> Tensor:
    """Return the masks of square boxes: (n, S, S) bool, true on side * side pixels from each corner on."""
    positions = torch.arange(image_size, device=corners.device)
    offsets = positions - corners[:, :, None]
    inside = (offsets >= 0) & (offsets < side)
    return inside[:, 0, :, None] & inside[:, 1, None, :]


def occlude(images: Tensor, corners: Tensor, side: int, condition: str) -> Tensor:
    """Draw a box over each image.

    Args:
        images: (n, 3, S, S) in [0, 1].
        corners: top left (y, x) of the boxes, int64 (n, 2), inside the image.
        side: of the boxes, in pixels.
        condition: "clean" (no box), "translucent" (a grey box with half transparency and no border) or "bordered" (an
            opaque grey box whose outermost pixels, `border_width` wide, are black).

    Returns:
        a new tensor in the shape of `images`, or `images` itself.

    Raises:
        ValueError: another condition.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"condition is {condition!r}: pass one of {', '.join(CONDITIONS)}.")
    if condition == "clean":
        return images
    box = boxes(corners, side, images.shape[-1])[:, None]
    if condition == "translucent":
        return torch.where(box, TRANSPARENCY * images + (1 - TRANSPARENCY) * GREY, images)
    width = border_width(side)
    inner = boxes(corners + width, side - 2 * width, images.shape[-1])[:, None]
    return torch.where(inner, GREY, torch.where(box, BLACK, images))

