"""Spatter: drops of water, or of mud, on the lens."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from smoothmix.corruptions.corruption import Corruption, Draws
from smoothmix.corruptions.filters import along_sides, gaussian_matrix

_WATER = (175, 238, 238)
_MUD = (63, 42, 20)


class _Setting(NamedTuple):
    mean: float  # of the noise that becomes drops
    std: float
    sigma: float  # of its blur
    threshold: float  # below which there is no drop
    amount: float  # strength of the water, or the blur's sigma of the mud's edges
    mud: bool


def _sample(images: Tensor, setting: _Setting, generator: Generator | None) -> Draws:
    """Draw standard normal noise (N, S, S)."""
    count, side, device = len(images), images.shape[-1], images.device
    return (torch.randn(count, side, side, dtype=torch.float32, generator=generator, device=device),)


def _apply(images: Tensor, setting: _Setting, draws: Draws) -> Tensor:
    (noise,) = draws
    blur = gaussian_matrix(images.shape[-1], setting.sigma, noise)
    layer = along_sides(noise * setting.std + setting.mean, blur, blur)
    if setting.mud:
        return _with_mud(images, layer > setting.threshold, setting.amount)
    return _with_water(images, torch.where(layer < setting.threshold, 0, layer), setting.amount)


def _with_mud(images: Tensor, drops: Tensor, sigma: float) -> Tensor:
    opacity = drops.float()
    blur = gaussian_matrix(images.shape[-1], sigma, opacity)
    opacity = along_sides(opacity, blur, blur)
    opacity = torch.where(opacity < 0.8, 0, opacity)[:, None]
    colour = torch.tensor(_MUD, dtype=torch.float32, device=images.device).view(3, 1, 1)
    return (images * (1 - opacity)).add_(opacity * colour).to(torch.uint8)


def _with_water(images: Tensor, layer: Tensor, strength: float) -> Tensor:
    layer = (layer * 255).to(torch.uint8)
    opacity = layer * _ripples(layer).float()
    # Where there is no drop at all, the image stays as it is.
    opacity *= strength / opacity.amax((-2, -1), keepdim=True).clamp_(min=1)
    colour = torch.tensor(_WATER, dtype=torch.float32, device=images.device).view(3, 1, 1)
    return (opacity[:, None] * colour).add_(images).clamp_(max=255).to(torch.uint8)


def _ripples(layer: Tensor) -> Tensor:
    """Return the light and shade of drops, uint8 (N, S, S), from their thickness, uint8 (N, S, S).

    Edges, distances and equalisation are those of OpenCV, image by image on the CPU.
    """
    try:
        import cv2
        import numpy
    except ImportError as error:
        raise ImportError("spatter finds edges with OpenCV; run `pip install opencv-python-headless`") from error
    emboss = numpy.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    ripples = numpy.empty(layer.shape, dtype=numpy.uint8)
    for drops, ripple in zip(layer.cpu().numpy(), ripples, strict=True):
        distance = cv2.distanceTransform(255 - cv2.Canny(drops, 50, 150), cv2.DIST_L2, 5)
        height = cv2.blur(numpy.minimum(distance, 20), (3, 3)).astype(numpy.uint8)
        cv2.blur(cv2.filter2D(cv2.equalizeHist(height), cv2.CV_8U, emboss), (3, 3), dst=ripple)
    return torch.from_numpy(ripples).to(layer.device)


def _settings(*rows: tuple[float, float, float, float, float, bool]) -> tuple[_Setting, ...]:
    return tuple(_Setting(*row) for row in rows)


SPATTER = Corruption(
    category="weather",
    cifar=_settings(
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1.0, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    ),
    imagenet=_settings(
        (0.65, 0.3, 4.0, 0.69, 0.6, False),
        (0.65, 0.3, 3.0, 0.68, 0.6, False),
        (0.65, 0.3, 2.0, 0.68, 0.5, False),
        (0.65, 0.3, 1.0, 0.65, 1.5, True),
        (0.67, 0.4, 1.0, 0.65, 1.5, True),
    ),
    apply=_apply,
    sample=_sample,
)
