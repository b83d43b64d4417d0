"""Cutout: a square hole."""

from dataclasses import dataclass

import torch
from torch import Tensor

from smoothmix.mixing.blend import erase
from smoothmix.mixing.masks import box_mask
from smoothmix.mixing.strategy import Strategy


@dataclass(kw_only=True, eq=False)
class Cutout(Strategy):
    """Cutout (DeVries & Taylor, 2017): a square of zeros in every image; the label stays whole.

    Zero is the mean colour of normalised images, so apply it after normalisation. The hole's centre is a whole-numbered
    position, uniform over the image: near the border a part of the hole lies outside, as in the authors' code.

    Args:
        num_classes, p, generator: see `Strategy`.
        per_sample: a hole for each image, as in the source; False cuts the same hole out of the whole batch.
        size: side of the hole in pixels, a whole number > 0; an odd side loses one pixel (see `box_mask`).

    Raises:
        ValueError: `size` that is not a whole number above 0, and what `Strategy` raises.
    """

    p: float = 1.0
    per_sample: bool = True
    size: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.size, int) or self.size < 1:
            raise ValueError(f"size is {self.size!r}: pass the side of the hole in pixels, a whole number above 0.")

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cut the holes into copies of `images` (N, C, H, W) and return the labels whole; see `Strategy.__call__`."""
        targets = self.targets(images, labels)
        return erase(images, self.draw_mask(images)), targets

    def sample(self, n: int, size: tuple[int, int], device: torch.device | str) -> Tensor:
        """Draw `n` masks, (n, 1, H, W): 0 in the hole, 1 around it."""
        center = self.whole(n, size[0], device), self.whole(n, size[1], device)
        return 1 - box_mask(size, center, (self.size, self.size))
