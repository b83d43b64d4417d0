"""Noise on every value of the image: Gaussian, shot, impulse and speckle."""

import torch
from torch import Generator, Tensor

from smoothmix.corruptions.corruption import Corruption, Draws


def _normal(images: Tensor, setting: float, generator: Generator | None) -> Draws:
    return (torch.randn(images.shape, dtype=torch.float32, generator=generator, device=images.device),)


def _add_gaussian(images: Tensor, std: float, draws: Draws) -> Tensor:
    (normal,) = draws
    return (normal * (255 * std)).add_(images).clamp_(0, 255).byte()


def _add_speckle(images: Tensor, std: float, draws: Draws) -> Tensor:
    (normal,) = draws
    return (normal * std).add_(1).mul_(images).clamp_(0, 255).byte()


def _count_photons(images: Tensor, rate: float, generator: Generator | None) -> Draws:
    return (torch.poisson(images.float() * (rate / 255), generator=generator),)


def _expose(images: Tensor, rate: float, draws: Draws) -> Tensor:
    (counts,) = draws
    return (counts / rate).clamp_(max=1).mul_(255).byte()


def _uniform(images: Tensor, amount: float, generator: Generator | None) -> Draws:
    return (torch.rand(images.shape, dtype=torch.float32, generator=generator, device=images.device),)


def _salt_and_pepper(images: Tensor, amount: float, draws: Draws) -> Tensor:
    (uniform,) = draws
    salted = images.masked_fill(uniform < amount, 255)
    return salted.masked_fill_(uniform < amount / 2, 0)


# The setting is the standard deviation, for values 0..1.
GAUSSIAN_NOISE = Corruption(
    "noise",
    cifar=(0.04, 0.06, 0.08, 0.09, 0.10),
    imagenet=(0.08, 0.12, 0.18, 0.26, 0.38),
    sample=_normal,
    apply=_add_gaussian,
)
# The setting is the number of photons that make a value of 255.
SHOT_NOISE = Corruption(
    "noise",
    cifar=(500.0, 250.0, 100.0, 75.0, 50.0),
    imagenet=(60.0, 25.0, 12.0, 5.0, 3.0),
    sample=_count_photons,
    apply=_expose,
)
# The setting is the share of values that turn 0 or 255, half each.
IMPULSE_NOISE = Corruption(
    "noise",
    cifar=(0.01, 0.02, 0.03, 0.05, 0.07),
    imagenet=(0.03, 0.06, 0.09, 0.17, 0.27),
    sample=_uniform,
    apply=_salt_and_pepper,
)
# The setting is the standard deviation relative to the value.
SPECKLE_NOISE = Corruption(
    "noise",
    cifar=(0.06, 0.1, 0.12, 0.16, 0.2),
    imagenet=(0.15, 0.2, 0.35, 0.45, 0.6),
    sample=_normal,
    apply=_add_speckle,
)
