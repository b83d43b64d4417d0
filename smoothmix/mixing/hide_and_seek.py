"""Hide-and-Seek: some patches of a grid are hidden."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smoothmix.mixing.blend import erase
from smoothmix.mixing.strategy import Strategy


@dataclass(kw_only=True, eq=False)
class HideAndSeek(Strategy):
    """Hide-and-Seek (Singh & Lee, 2017): a grid is laid over the image and each patch hidden by a coin of its own.

    The side of the patches is drawn uniformly from `grids`, where 0 leaves the image whole. The grid starts in the
    upper left corner; patches at the right and lower border are cut off. Hidden pixels are zero, which is the mean
    colour of normalised images, so apply it after normalisation. The label stays whole.

    Args:
        num_classes, p, generator: see `Strategy`.
        per_sample: a grid for each image, as in the source; False hides the same patches in the whole batch.
        grids: sides of the patches in pixels of an image of `image_size`, whole numbers >= 0 and below it, at least
            one above 0. The default is the authors' for ImageNet.
        image_size: the image size min(H, W) that `grids` are meant for, in pixels. For images of another size they are
            scaled in proportion and rounded, to 1 pixel at least: the default is 2, 5, 6 and 8 pixels on 32.
        hide_prob: probability that a patch is hidden, in [0, 1].

    Raises:
        ValueError: arguments outside these ranges, and what `Strategy` raises.
    """

    p: float = 1.0
    per_sample: bool = True
    grids: Sequence[int] = (0, 16, 32, 44, 56)
    image_size: int = 224
    hide_prob: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        whole = isinstance(self.grids, Sequence) and all(isinstance(side, int) and side >= 0 for side in self.grids)
        if not whole or not any(self.grids):
            raise ValueError(
                f"grids is {self.grids}: pass the sides of the patches in pixels, whole numbers with 0 for no grid, at "
                "least one above 0."
            )
        if not isinstance(self.image_size, int) or self.image_size < 1:
            raise ValueError(
                f"image_size is {self.image_size!r}: pass the image size that grids are meant for, in pixels."
            )
        if max(self.grids) >= self.image_size:
            raise ValueError(
                f"grids is {self.grids}, in pixels of images of {self.image_size}: pass sides below image_size, or the "
                "image_size that these sides are meant for."
            )
        if not 0 <= self.hide_prob <= 1:
            raise ValueError(f"hide_prob is {self.hide_prob}: pass the probability of hiding a patch, between 0 and 1.")
        self.grids = tuple(self.grids)

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Hide patches in copies of `images` (N, C, H, W) and return the labels whole; see `Strategy.__call__`."""
        targets = self.targets(images, labels)
        return erase(images, self.draw_mask(images)), targets

    def sides(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return `grids` in pixels of images of `size` (H, W)."""
        scale = min(size) / self.image_size
        return tuple(max(1, round(side * scale)) if side else 0 for side in self.grids)

    def sample(self, n: int, size: tuple[int, int], device: torch.device | str) -> Tensor:
        """Draw `n` masks, (n, 1, H, W): 0 in the hidden patches, 1 elsewhere."""
        sides = self.sides(size)
        choice = self.whole(n, len(sides), device)[:, None]
        # The numbers fill in from the host, where a table of them would have to be copied to the device. Without a grid
        # the image is one patch that is never hidden.
        side = torch.full((n, 1), max(size), dtype=torch.int64, device=device)
        probability = torch.zeros((n, 1), dtype=torch.float32, device=device)
        for index, pixels in enumerate(sides):
            if pixels:
                side = side.masked_fill(choice == index, pixels)
                probability = probability.masked_fill(choice == index, self.hide_prob)

        # As many coins as the finest grid has patches: each grid uses those it needs, from the corner on.
        finest = min(pixels for pixels in sides if pixels)
        rows, columns = math.ceil(size[0] / finest), math.ceil(size[1] / finest)
        coins = self.uniform(n * rows * columns, 0, 1, device).view(n, rows, columns)
        hidden = coins < probability[:, :, None]
        row_of = torch.arange(size[0], device=device) // side
        column_of = torch.arange(size[1], device=device) // side
        hidden = hidden.gather(1, row_of[:, :, None].expand(n, size[0], columns))
        hidden = hidden.gather(2, column_of[:, None, :].expand(n, size[0], size[1]))
        return (~hidden).float().unsqueeze(1)
