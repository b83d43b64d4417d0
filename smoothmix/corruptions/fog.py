"""Fog: a cloud of fractal noise, added to the image."""

import torch
from torch import Generator, Tensor

from smoothmix.corruptions.corruption import Corruption, Draws

_Setting = tuple[float, float]  # strength; how much less each finer level of the cloud adds (its square root)


def _sample(images: Tensor, setting: _Setting, generator: Generator | None) -> Draws:
    """Draw U(-1, 1) for every point of the cloud: (N, M, M), M being the next power of two of the images' side."""
    size = 1 << (images.shape[-1] - 1).bit_length()
    kicks = torch.rand(len(images), size, size, dtype=torch.float32, generator=generator, device=images.device)
    return (kicks.mul_(2).sub_(1),)


def _apply(images: Tensor, setting: _Setting, draws: Draws) -> Tensor:
    strength, decay = setting
    (kicks,) = draws
    side = images.shape[-1]
    cloud = _plasma(kicks, decay)
    low, high = cloud.amin((-2, -1), keepdim=True), cloud.amax((-2, -1), keepdim=True)
    # Image and cloud together are scaled down to the brightest value of the clean image.
    brightest = images.amax((-3, -2, -1), keepdim=True).to(cloud.dtype)
    scale = brightest / (brightest + 255 * strength)
    cloud = (cloud[:, :side, :side] - low).mul_(255 * strength * scale[:, 0] / (high - low))
    return (images * scale).add_(cloud[:, None]).to(torch.uint8)


def _plasma(kicks: Tensor, decay: float) -> Tensor:
    """Return the periodic diamond-square fractal (N, M, M) that starts as one point and is moved by `kicks`."""
    size = kicks.shape[-1]
    grid = torch.zeros_like(kicks[:, :1, :1])
    amplitude = 100.0**2
    while grid.shape[-1] < size:
        coarse = grid.shape[-1]
        step = size // (2 * coarse)
        fine = kicks[:, ::step, ::step] * amplitude
        right, below = grid.roll(-1, -1), grid.roll(-1, -2)
        centres = fine[:, 1::2, 1::2]
        centres.add_(grid + right + below + below.roll(-1, -1), alpha=0.25)
        fine[:, ::2, 1::2].add_(right.add_(grid).add_(centres).add_(centres.roll(1, -2)), alpha=0.25)
        fine[:, 1::2, ::2].add_(below.add_(grid).add_(centres).add_(centres.roll(1, -1)), alpha=0.25)
        fine[:, ::2, ::2] = grid
        grid = fine
        amplitude /= decay**2
    return grid


FOG = Corruption(
    category="weather",
    cifar=((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
    imagenet=((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
    apply=_apply,
    sample=_sample,
)
