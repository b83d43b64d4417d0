"""The share of the second image that a mask of random size and place has on average, by numerical integration."""

import torch

from smoothmix.mixing.masks import box_mask, square_mask


def mean_share_of_square(k: float, side: int, steps: int = 400) -> float:
    """Return the mean share of the masked image under SmoothMix_S, sigma ~ U(0, `side`), by the midpoint rule.

    The mask is a product of two independent, equally distributed profiles, so for each sigma its mean is the square of
    a profile's.
    """
    points = (torch.arange(steps) + 0.5) * side / steps
    ones = torch.ones_like(points)
    # a row of pixels through the centre: there the vertical profile is 1
    rows = [square_mask((1, side), (0.5 * ones, points), sigma * ones, k) for sigma in points]
    return torch.stack([row.double().mean() ** 2 for row in rows]).mean().item()


def mean_share_of_cutmix(side: int, steps: int = 4000) -> float:
    """Return the mean area that CutMix pastes: lambda ~ U(0, 1), whole centres, the box cut off at the border."""
    centers = torch.arange(side).float()
    width = torch.floor((1 - (torch.arange(steps) + 0.5) / steps).sqrt() * side)
    areas = {
        value: box_mask((1, side), (0.5, centers), (1.0, float(value))).double().mean() ** 2
        for value in range(side + 1)
    }
    return torch.stack([areas[int(value)] for value in width]).mean().item()
