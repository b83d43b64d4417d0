"""Mixup: every pixel of two images in one proportion."""

from dataclasses import dataclass

import torch
from torch import Tensor

from smoothmix.mixing.strategy import Strategy, check_alpha


@dataclass(kw_only=True, eq=False)
class Mixup(Strategy):
    """Mixup (Zhang et al., 2018): lam * x_i + (1 - lam) * x_j with lam ~ Beta(alpha, alpha), and the labels alike.

    Args:
        num_classes, p, per_sample, generator: see `Strategy`.
        alpha: both parameters of the Beta distribution, > 0. 1 is the uniform distribution; smaller mixes less.

    Raises:
        ValueError: `alpha` that is not a finite number above 0, and what `Strategy` raises.
    """

    p: float = 1.0
    per_sample: bool = False
    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alpha(self.alpha)

    def sample(self, n: int, size: tuple[int, int], device: torch.device | str) -> Tensor:
        """Draw `n` constant masks, (n, 1, 1, 1): lam."""
        return self.beta(n, self.alpha, device)[:, None, None, None]
