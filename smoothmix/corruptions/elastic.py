"""Elastic transform: a random affine map, then a smooth random displacement of every pixel."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import grid_sample

from smoothmix.corruptions.corruption import Corruption, Draws
from smoothmix.corruptions.filters import along_sides, gaussian_matrix


class _Setting(NamedTuple):
    alpha: float  # strength of the displacement, times its blurred noise
    sigma: float  # of that blur, in pixels
    shift: float  # by how many pixels at most three points of the image move, which gives the affine map


def _sample(images: Tensor, setting: _Setting, generator: Generator | None) -> Draws:
    """Draw U(-1, 1) for the three points (N, 3, 2), x before y, and for the displacements (N, 2, S, S), x first."""
    count, side, device = len(images), images.shape[-1], images.device
    points = torch.rand(count, 3, 2, dtype=torch.float32, generator=generator, device=device)
    fields = torch.rand(count, 2, side, side, dtype=torch.float32, generator=generator, device=device)
    return points.mul_(2).sub_(1), fields.mul_(2).sub_(1)


def _apply(images: Tensor, setting: _Setting, draws: Draws) -> Tensor:
    points, fields = draws
    side = images.shape[-1]
    corrupted = images.float().div_(255)
    places = _affine_places(points, setting.shift, side)
    # Mirrored at the centres of the border pixels.
    places.mul_(2 / (side - 1)).sub_(1)
    corrupted = grid_sample(corrupted, places, padding_mode="reflection", align_corners=True)
    if setting.alpha:
        blur = gaussian_matrix(side, setting.sigma, fields, mode="reflect", truncate=3)
        places = along_sides(fields, blur, blur).mul_(setting.alpha).float().movedim(1, -1)
        steps = torch.arange(side, dtype=torch.float32, device=images.device)
        places[..., 0].add_(steps)
        places[..., 1].add_(steps[:, None])
        # Mirrored at the outer edges of the border pixels.
        places.mul_(2).add_(1).div_(side).sub_(1)
        corrupted = grid_sample(corrupted, places, padding_mode="reflection", align_corners=False)
    return corrupted.mul_(255).to(torch.uint8)


def _affine_places(points: Tensor, shift: float, side: int) -> Tensor:
    """Return where each pixel comes from, float32 (N, S, S, 2), x before y, in pixels.

    The map takes the moved points back. As in OpenCV's `warpAffine`, terms are rounded to 1/1024 pixel, sums to 1/32.
    """
    centre, reach = side // 2, side // 3
    high, low = centre + reach, centre - reach
    fixed = torch.tensor([[high, high], [high, low], [low, low]], dtype=torch.float64, device=points.device)
    moved = (points.double() * shift + fixed).float().double()
    down, along = moved[:, 0] - moved[:, 1], moved[:, 1] - moved[:, 2]
    factor = 2 * reach / (down[:, 0] * along[:, 1] - along[:, 0] * down[:, 1])
    matrix = torch.stack((-down[:, 1], down[:, 0], along[:, 1], -along[:, 0]), 1).mul_(factor[:, None]).view(-1, 2, 2)
    offset = fixed[0] - (matrix @ moved[:, 0, :, None]).squeeze(-1)
    steps = torch.arange(side, dtype=torch.float64, device=points.device)
    by_column = (matrix[:, None, :, 0] * steps[:, None]).mul_(1024).round_()
    by_row = (matrix[:, None, :, 1] * steps[:, None] + offset[:, None]).mul_(1024).round_()
    return (by_column.float()[:, None] + by_row.float()[:, :, None]).add_(16).div_(32).floor_().div_(32)


def _settings(*rows: tuple[float, float, float]) -> tuple[_Setting, ...]:
    return tuple(_Setting(*row) for row in rows)


ELASTIC_TRANSFORM = Corruption(
    category="digital",
    cifar=_settings((0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)),
    # These are shares of 244 pixels, though the images have 224: the benchmark's own slip, kept.
    imagenet=_settings(
        (488, 170.8, 24.4), (488, 19.52, 48.8), (12.2, 2.44, 4.88), (17.08, 2.44, 4.88), (29.28, 2.44, 4.88)
    ),
    apply=_apply,
    sample=_sample,
)
