"""Snow: flakes smeared by the wind over a whitened image."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from smoothmix.corruptions.blur import Motion, smear
from smoothmix.corruptions.corruption import Corruption, Draws
from smoothmix.corruptions.filters import along_sides, zoom_matrix


class Snow(NamedTuple):
    """Noise of `mean` and `std`, enlarged by `zoom` and cut off below `threshold`, smeared; weight of the image."""

    mean: float
    std: float
    zoom: float
    threshold: float
    wind: Motion
    weight: float


def _noise_and_angle(images: Tensor, setting: Snow, generator: Generator | None) -> Draws:
    count, side, device = len(images), images.shape[-1], images.device
    noise = torch.randn(count, side, side, dtype=torch.float32, generator=generator, device=device)
    angle = torch.rand(count, dtype=torch.float32, generator=generator, device=device) * 90 - 135
    return noise, angle


def _snow(images: Tensor, setting: Snow, draws: Draws) -> Tensor:
    noise, angle = draws
    enlarge = zoom_matrix(images.shape[-1], setting.zoom, like=noise)
    flakes = along_sides(noise, enlarge, enlarge).mul_(setting.std).add_(setting.mean)
    flakes = flakes.masked_fill_(flakes < setting.threshold, 0).clamp_(0, 1).mul_(255).floor_()
    flakes = smear(flakes[:, None], setting.wind, angle)
    flakes = flakes + flakes.flip(2, 3)

    colours = images.float()
    red, green, blue = colours.unbind(1)
    white = (red * 0.299 + green * 0.587 + blue * 0.114)[:, None] * 1.5 + 127.5
    whitened = torch.maximum(colours, white).mul_(1 - setting.weight)
    return whitened.add_(colours, alpha=setting.weight).add_(flakes).clamp_(0, 255).byte()


SNOW = Corruption(
    "weather",
    cifar=(
        Snow(0.1, 0.2, 1, 0.6, Motion(8, 3), 0.95),
        Snow(0.1, 0.2, 1, 0.5, Motion(10, 4), 0.9),
        Snow(0.15, 0.3, 1.75, 0.55, Motion(10, 4), 0.9),
        Snow(0.25, 0.3, 2.25, 0.6, Motion(12, 6), 0.85),
        Snow(0.3, 0.3, 1.25, 0.65, Motion(14, 12), 0.8),
    ),
    imagenet=(
        Snow(0.1, 0.3, 3, 0.5, Motion(10, 4), 0.8),
        Snow(0.2, 0.3, 2, 0.5, Motion(12, 4), 0.7),
        Snow(0.55, 0.3, 4, 0.9, Motion(12, 8), 0.7),
        Snow(0.55, 0.3, 4.5, 0.85, Motion(12, 8), 0.65),
        Snow(0.55, 0.3, 2.5, 0.85, Motion(12, 12), 0.55),
    ),
    sample=_noise_and_angle,
    apply=_snow,
)
