"""Pictures of mixed batches: what a strategy makes of eight handwritten digits."""

import io
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

WIDTH = 600  # pixels at most


def mixed_batch(strategy: Any, images: Tensor, labels: Tensor, seed: int = 0) -> bytes | None:
    """Return a PNG: the images above, what `strategy` makes of them below; None if it changes none.

    Args:
        strategy: ``(images, labels) -> (images, targets)``; one with a probability `p` mixes every image.
        images: (N, 3, H, W), float32 in [0, 1].
        labels: (N,).
        seed: of the draws.
    """
    if hasattr(strategy, "p"):
        strategy.p = 1.0
    strategy.generator = torch.Generator().manual_seed(seed)
    mixed, _ = strategy(images, labels)
    if torch.equal(mixed, images):
        return None
    rows = [torch.cat(list(F.pad(row, (1, 1, 1, 1), value=1.0)), dim=-1) for row in (images, mixed.float())]
    pixels = (torch.cat(rows, dim=-2).clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(pixels)
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.BOX)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
