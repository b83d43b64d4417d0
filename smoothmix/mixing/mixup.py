"""Mixup: every pixel of two images in one proportion."""

import math

import torch
from torch import Tensor

from smoothmix.mixing.strategy import Strategy


class Mixup(Strategy):
    """Mixup (Zhang et al., 2018): lam * x_i + (1 - lam) * x_j with lam ~ Beta(alpha, alpha), and the labels alike.

    Args:
        num_classes, p, per_sample, generator: see `Strategy`.
        alpha: both parameters of the Beta distribution, > 0. 1 is the uniform distribution; smaller mixes less.

    Raises:
        ValueError: `alpha` that is not a finite number above 0, and what `Strategy` raises.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        p: float = 1.0,
        per_sample: bool = False,
        alpha: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(num_classes=num_classes, p=p, per_sample=per_sample, generator=generator)
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha is {alpha}: pass the parameter of the Beta distribution, a finite number above 0.")
        self.alpha = alpha

    def sample(self, n: int, size: tuple[int, int], device: torch.device | str) -> Tensor:
        """Draw `n` constant masks, (n, 1, 1, 1): lam."""
        return self.beta(n, self.alpha, device)[:, None, None, None]
