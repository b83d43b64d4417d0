"""What a strategy makes of a batch, as a picture."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from smoothmix.utils.pictures import describe, grid


def mixed_batch(strategy: Any, images: Tensor, labels: Tensor, names: Sequence[str], seed: int = 0) -> bytes | None:
    """Return a PNG: the images above, what `strategy` makes of them and of their labels below; None if it changes none.

    Args:
        strategy: ``(images, labels) -> (images, targets)``; one with a probability `p` mixes every image.
        images: (N, 3, H, W), float32 in [0, 1].
        labels: (N,).
        names: of the classes.
        seed: of the draws.
    """
    if hasattr(strategy, "p"):
        strategy.p = 1.0
    strategy.generator = torch.Generator().manual_seed(seed)
    mixed, targets = strategy(images, labels)
    return None if torch.equal(mixed, images) else grid([images, mixed], describe(targets, names))
