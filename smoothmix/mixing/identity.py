"""No mixing: the baseline."""

from dataclasses import dataclass

import torch
from torch import Tensor

from smoothmix.mixing.strategy import Strategy


@dataclass(kw_only=True, eq=False)
class Identity(Strategy):
    """Return the images as they are, the very same tensor, and the labels as targets (N, K), float32.

    Takes the arguments that all strategies share, so that a caller can build any of them alike; `p`, `per_sample` and
    `generator` have nothing to act on here.
    """

    p: float = 1.0
    per_sample: bool = False

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return `images` (N, C, H, W) and the labels as class probabilities (N, K); see `Strategy.__call__`."""
        return images, self.targets(images, labels)

    def sample(self, n: int, size: tuple[int, int], device: torch.device | str) -> Tensor:
        """Return `n` masks of ones, (n, 1, 1, 1)."""
        return torch.ones((n, 1, 1, 1), dtype=torch.float32, device=device)
