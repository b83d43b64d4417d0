"""SmoothMix (Lee et al., CVPR Workshops 2020): two images blended by a mask without strong edges."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smoothmix.mixing.masks import gaussian_mask, square_mask
from smoothmix.mixing.strategy import Strategy


@dataclass(kw_only=True, eq=False)
class SmoothMix(Strategy):
    """What both variants share (Algorithm 1): G * x_i + (1 - G) * x_j, weight of label i = mean(G) (Eq. 2-4).

    The centre of G is uniform over the image (Eq. 1) and its spread is uniform in `sigma`. A variant turns the two into
    a mask in `mask`; another law of either overrides `sample_center` or `sample_sigma`.

    Args:
        num_classes, p, per_sample, generator: see `Strategy`.
        sigma: (low, high) of the spread, as fractions of the image size min(H, W), 0 <= low <= high <= 1, high > 0.

    Raises:
        ValueError: `sigma` that is not such a pair, and what `Strategy` raises.
    """

    sigma: Sequence[float]

    def __post_init__(self) -> None:
        super().__post_init__()
        sigma = self.sigma
        numbers = isinstance(sigma, Sequence) and all(isinstance(value, int | float) for value in sigma)
        if not numbers or len(sigma) != 2 or not (0 <= sigma[0] <= sigma[1] <= 1 and sigma[1] > 0):
            raise ValueError(
                f"sigma is {sigma}: pass (low, high) as fractions of the image size min(H, W), not as pixels: "
                "0 <= low <= high <= 1 and high > 0."
            )
        self.sigma = (float(sigma[0]), float(sigma[1]))

    def mask(self, size: tuple[int, int], center: tuple[Tensor, Tensor], sigma: Tensor) -> Tensor:
        """Return G, float32 (N, 1, H, W), for centres and spreads in pixels, each of shape (N,)."""
        raise NotImplementedError(f"{type(self).__name__} must say what its mask looks like, in mask().")

    def sample_center(self, n: int, size: tuple[int, int], device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Draw `n` centres (y, x) in pixels: U(0, H) and U(0, W) (Eq. 1), each of shape (n,)."""
        return self.uniform(n, 0, size[0], device), self.uniform(n, 0, size[1], device)

    def sample_sigma(self, n: int, size: tuple[int, int], device: torch.device | str) -> Tensor:
        """Draw `n` spreads in pixels, (n,): uniform between the two fractions of min(H, W)."""
        low, high = self.sigma
        return self.uniform(n, low, high, device) * min(size)

    def sample(self, n: int, size: tuple[int, int], device: torch.device | str) -> Tensor:
        """Draw `n` masks G, (n, 1, H, W)."""
        return self.mask(size, self.sample_center(n, size, device), self.sample_sigma(n, size, device))


@dataclass(kw_only=True, eq=False)
class SmoothMixC(SmoothMix):
    """SmoothMix_C: the mask is a Gaussian of peak 1 (Eq. 7).

    Args:
        num_classes, p, per_sample, generator: see `Strategy`.
        sigma: (low, high) of the Gaussian's standard deviation, as fractions of min(H, W). The default is the paper's.

    Raises:
        ValueError: see `SmoothMix`.
    """

    p: float = 0.5
    per_sample: bool = False
    sigma: Sequence[float] = (0.25, 0.5)

    def mask(self, size: tuple[int, int], center: tuple[Tensor, Tensor], sigma: Tensor) -> Tensor:
        """Return the Gaussian (N, 1, H, W) of Eq. 7."""
        return gaussian_mask(size, center, sigma)


@dataclass(kw_only=True, eq=False)
class SmoothMixS(SmoothMix):
    """SmoothMix_S: the mask is a square with a linear ramp for a border (Eq. 5).

    Args:
        num_classes, p, per_sample, generator: see `Strategy`.
        sigma: (low, high) of the square's side, as fractions of min(H, W). The default is the paper's.
        k: half-width of the border as a fraction of the side, in [0, 1]; 0 is a hard square. The default is the
            paper's.

    Raises:
        ValueError: `k` outside [0, 1], and what `SmoothMix` raises.
    """

    p: float = 0.5
    per_sample: bool = False
    sigma: Sequence[float] = (0.0, 1.0)
    k: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.k <= 1:
            raise ValueError(
                f"k is {self.k}: pass the border's half-width as a fraction of the square's side, not as pixels, "
                "between 0 and 1."
            )

    def mask(self, size: tuple[int, int], center: tuple[Tensor, Tensor], sigma: Tensor) -> Tensor:
        """Return the square with a soft border (N, 1, H, W) of Eq. 5."""
        return square_mask(size, center, sigma, self.k)
