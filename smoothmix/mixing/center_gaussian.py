"""Center Gaussian: the ablation of Table 7, SmoothMix_C with its centre near the middle of the image."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from smoothmix.mixing.smoothmix import SmoothMixC


@dataclass(kw_only=True, eq=False)
class CenterGaussian(SmoothMixC):
    """SmoothMix_C whose centre is Normal(the image's centre, `spread`) along each dimension, not uniform.

    The sigma of Table 7 is that of this law, `spread` here; the mask's own is SmoothMix_C's. A centre outside the image
    stays there.

    Args:
        num_classes, p, per_sample, sigma, generator: see `SmoothMixC`.
        spread: standard deviation of the centre in pixels, 0 or >= 1. The paper has 4 and 12, on images of 32 pixels.

    Raises:
        ValueError: `spread` that is not finite, below 0, or between 0 and 1, as a fraction of the image size would be;
            and what `SmoothMixC` raises.
    """

    spread: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spread != 0 and not 1 <= self.spread < math.inf:
            raise ValueError(
                f"spread is {self.spread}: pass the centre's standard deviation in pixels, not as a fraction of the "
                "image size: 0, or a finite number of 1 or more."
            )

    def sample_center(self, n: int, size: tuple[int, int], device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Draw `n` centres (y, x) in pixels, each of shape (n,)."""
        y, x = self.spread * torch.randn(2, n, dtype=torch.float32, device=device, **self._source)
        return size[0] / 2 + y, size[1] / 2 + x
