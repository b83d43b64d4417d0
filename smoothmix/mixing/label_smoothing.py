"""Label smoothing: the images stay, the labels give a part of their weight to all classes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from smoothmix.mixing.blend import label_weight
from smoothmix.mixing.strategy import Strategy


@dataclass(kw_only=True, eq=False)
class LabelSmoothing(Strategy):
    """Label smoothing (Szegedy et al., 2016): (1 - smoothing) * target + smoothing / K.

    The same as `label_smoothing` of torch's cross entropy, for code whose methods all act on the batch.

    Args:
        num_classes, p, per_sample, generator: see `Strategy`. With p = 1 nothing is left to chance.
        smoothing: the part that is shared out evenly among all K classes, in [0, 1].

    Raises:
        ValueError: `smoothing` outside [0, 1], and what `Strategy` raises.
    """

    p: float = 1.0
    per_sample: bool = False
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.smoothing <= 1:
            raise ValueError(f"smoothing is {self.smoothing}: pass the fraction of a label to spread, between 0 and 1.")

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return `images` (N, C, H, W), the very same tensor, and smoothed targets (N, K); see `Strategy.__call__`."""
        targets = self.targets(images, labels)
        weight = label_weight(self.draw_mask(images)).view(-1, *[1] * (targets.ndim - 1))
        total = targets.sum(dim=1, keepdim=True)  # 0 where a pixel of a label map is ignored
        return images, weight * targets + (1 - weight) * total / self.num_classes

    def sample(self, n: int, size: tuple[int, int], device: torch.device | str) -> Tensor:
        """Return `n` constants, (n, 1, 1, 1): the part of the label that stays."""
        return torch.full((n, 1, 1, 1), 1 - self.smoothing, dtype=torch.float32, device=device)
