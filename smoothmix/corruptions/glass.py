"""Blur as through frosted glass: pixels scattered by a few places, between two Gaussian blurs."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from smoothmix.corruptions.corruption import Corruption, Draws


class Glass(NamedTuple):
    """Sigma of both blurs and the farthest copy, in pixels, and the number of passes."""

    sigma: float
    distance: int
    passes: int


def _offsets(images: Tensor, setting: Glass, generator: Generator | None) -> Draws:
    """Return (right, down) of every copy (N, passes, written rows, written columns, 2), in the order of the writing."""
    written = images.shape[-1] - 2 * setting.distance
    shape = (len(images), setting.passes, written, written, 2)
    limits = -setting.distance, setting.distance
    return (torch.randint(*limits, shape, generator=generator, dtype=torch.int8, device=images.device),)


def scatter(side: int, setting: Glass, offsets: Tensor) -> Tensor:
    """Return the pixel (row * side + column) that each pixel shows after all passes: (N, side * side), int64.

    A pass goes through the written pixels from the last to the first, and each becomes a copy of the pixel at its
    offset: of what that one has become, if it comes later in the image, and else of what it was before the pass.
    """
    distance = setting.distance
    pixels = torch.arange(side * side, device=offsets.device)
    # A copy that comes from later in the image is followed to its own source, and so on. Doubling the followed length
    # each time, this many doublings are enough for any draws. With distance 1, copies come from earlier pixels only.
    doublings = (side * side).bit_length() if distance > 1 else 0
    shown = pixels.expand(len(offsets), -1)
    for number in range(setting.passes):
        right, down = offsets[:, number].flip(1, 2).long().unbind(-1)
        source = pixels.view(side, side).repeat(len(offsets), 1, 1)
        source[:, distance + 1 : side - distance + 1, distance + 1 : side - distance + 1] += down * side + right
        source = source.flatten(1)
        followed = torch.where(source > pixels, source, pixels)
        for _ in range(doublings):
            followed = followed.gather(1, followed)
        shown = shown.gather(1, source.gather(1, followed))
    return shown


def _blur(images: Tensor, sigma: float) -> Tensor:
    """Blur uint8 images in float64, adding in the order of NumPy and scipy, and truncate as the original.

    The order matters: even areas lie on whole grey levels, up to a rounding that decides what truncation makes of them.
    """
    radius = int(4 * sigma + 0.5)
    taps = torch.exp(-0.5 / sigma**2 * torch.arange(-radius, radius + 1, dtype=torch.float64) ** 2)
    weights = (taps / sum(taps.tolist())).tolist()  # torch's sum has another order
    blurred = images.double().div_(255)
    for dim in (-2, -1):
        side = images.shape[dim]
        places = torch.arange(-radius, side + radius, device=images.device).clamp_(0, side - 1)
        padded = blurred.index_select(dim, places)
        blurred *= weights[radius]
        for tap in range(radius):
            pair = padded.narrow(dim, tap, side) + padded.narrow(dim, 2 * radius - tap, side)
            blurred += pair.mul_(weights[tap])
    return blurred.clamp_(0, 1).mul_(255).byte()


def _glass(images: Tensor, setting: Glass, draws: Draws) -> Tensor:
    shown = scatter(images.shape[-1], setting, *draws)
    pixels = _blur(images, setting.sigma).flatten(2).gather(2, shown[:, None].expand(-1, 3, -1))
    return _blur(pixels.view(images.shape), setting.sigma)


GLASS_BLUR = Corruption(
    "blur",
    cifar=(Glass(0.05, 1, 1), Glass(0.25, 1, 1), Glass(0.4, 1, 1), Glass(0.25, 1, 2), Glass(0.4, 1, 2)),
    imagenet=(Glass(0.7, 1, 2), Glass(0.9, 2, 1), Glass(1.0, 2, 3), Glass(1.1, 3, 2), Glass(1.5, 4, 2)),
    sample=_offsets,
    apply=_glass,
)
