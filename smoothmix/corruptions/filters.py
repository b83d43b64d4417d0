"""Linear filters that act on rows and columns separately, as matrices with the borders built in."""

import math

import torch
from torch import Tensor


def along_sides(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return ``rows @ image @ columns.T`` for floating images (..., H, W), rows (H', H), columns (W', W)."""
    return rows @ (images @ columns.mT)


def gaussian_matrix(size: int, sigma: float, like: Tensor, mode: str = "nearest", truncate: float = 4.0) -> Tensor:
    """Return the Gaussian blur of `size` pixels as a matrix (size, size), with `like`'s dtype and device.

    The filter of `scipy.ndimage.gaussian_filter1d`: taps up to ``int(truncate * sigma + 0.5)``, summing to 1. `mode`
    is its border: "nearest" repeats the last pixel, "reflect" mirrors the image with its last pixel.
    """
    radius = int(truncate * sigma + 0.5)
    taps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (taps / sigma) ** 2)
    weights /= weights.sum()
    sources = torch.arange(size)[:, None] + taps.long()
    if mode == "nearest":
        sources = sources.clamp(0, size - 1)
    else:
        sources = sources % (2 * size)
        sources = torch.minimum(sources, 2 * size - 1 - sources)
    matrix = torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, sources, weights.expand(size, -1))
    return matrix.to(like)


def zoom_matrix(size: int, factor: float, like: Tensor) -> Tensor:
    """Return the central zoom of `size` pixels by `factor` >= 1 as a matrix (size, size), linear, borders not shown.

    The central ceil(size / factor) pixels are stretched, first onto first and last onto last, and the middle is kept.
    """
    kept = math.ceil(size / factor)
    start, stretched = (size - kept) // 2, round(kept * factor)
    places = torch.arange(size, dtype=torch.float64) + (stretched - size) // 2
    places = places * (kept - 1) / max(stretched - 1, 1)
    low = places.floor().clamp(max=kept - 1).long()
    share = places - low
    high = (low + 1).clamp(max=kept - 1)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix.scatter_add_(1, (start + low)[:, None], (1 - share)[:, None])
    matrix.scatter_add_(1, (start + high)[:, None], share[:, None])
    return matrix.to(like)
