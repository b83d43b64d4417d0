"""CutMix: a box of one image pasted onto another."""

from dataclasses import dataclass

import torch
from torch import Tensor

from smoothmix.mixing.masks import box_mask
from smoothmix.mixing.strategy import Strategy, check_alpha


def cutmix_mask(size: tuple[int, int], center: tuple[Tensor, Tensor], lam: Tensor) -> Tensor:
    """Return the share of the image that is pasted upon: 0 in a box of sides floor(sqrt(1 - lam) * (H, W)), 1 around.

    The box is cut off at the border and odd sides lose a pixel (`box_mask`), so the mean of the mask is above `lam`.

    Args:
        size: (H, W) in pixels.
        center: (y, x) of the box, whole numbers, each of shape (N,).
        lam: (N,), in [0, 1].

    Returns:
        float32 mask of zeros and ones, (N, 1, H, W).
    """
    cut = (1 - lam).sqrt()
    box = box_mask(size, center, ((cut * size[0]).floor(), (cut * size[1]).floor()))
    return box.neg_().add_(1)


@dataclass(kw_only=True, eq=False)
class CutMix(Strategy):
    """CutMix (Yun et al., 2019): a box of the partner replaces the image's own pixels; labels by the real area.

    The box has the image's aspect ratio and, before it is cut off at the border, the area 1 - lam, where lam ~
    Beta(alpha, alpha). Its centre is a whole-numbered position, uniform over the image.

    Args:
        num_classes, p, per_sample, generator: see `Strategy`.
        alpha: both parameters of the Beta distribution, > 0. 1 is the uniform distribution.

    Raises:
        ValueError: `alpha` that is not a finite number above 0, and what `Strategy` raises.
    """

    p: float = 0.5
    per_sample: bool = False
    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alpha(self.alpha)

    def sample(self, n: int, size: tuple[int, int], device: torch.device | str) -> Tensor:
        """Draw `n` masks, (n, 1, H, W): 0 in the box, 1 around it."""
        lam = self.beta(n, self.alpha, device)
        center = self.whole(n, size[0], device), self.whole(n, size[1], device)
        return cutmix_mask(size, center, lam)
