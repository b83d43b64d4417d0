"""Corrupt a batch of images as in the CIFAR-10-C, CIFAR-100-C and ImageNet-C benchmarks.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019.
"""

import difflib
from typing import Any

import torch
from torch import Generator, Tensor

from smoothmix.corruptions.blur import DEFOCUS_BLUR, GAUSSIAN_BLUR, MOTION_BLUR, ZOOM_BLUR
from smoothmix.corruptions.colour import BRIGHTNESS, CONTRAST, SATURATE
from smoothmix.corruptions.corruption import SEVERITIES, Corruption, Draws
from smoothmix.corruptions.digital import JPEG_COMPRESSION, PIXELATE, through_jpeg
from smoothmix.corruptions.elastic import ELASTIC_TRANSFORM
from smoothmix.corruptions.fog import FOG
from smoothmix.corruptions.frost import FROST
from smoothmix.corruptions.glass import GLASS_BLUR
from smoothmix.corruptions.noise import GAUSSIAN_NOISE, IMPULSE_NOISE, SHOT_NOISE, SPECKLE_NOISE
from smoothmix.corruptions.snow import SNOW
from smoothmix.corruptions.spatter import SPATTER
from smoothmix.utils.errors import UserError
from smoothmix.utils.numerics import full_precision

CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": GAUSSIAN_NOISE,
    "shot_noise": SHOT_NOISE,
    "impulse_noise": IMPULSE_NOISE,
    "speckle_noise": SPECKLE_NOISE,
    "defocus_blur": DEFOCUS_BLUR,
    "glass_blur": GLASS_BLUR,
    "motion_blur": MOTION_BLUR,
    "zoom_blur": ZOOM_BLUR,
    "gaussian_blur": GAUSSIAN_BLUR,
    "brightness": BRIGHTNESS,
    "fog": FOG,
    "frost": FROST,
    "snow": SNOW,
    "spatter": SPATTER,
    "saturate": SATURATE,
    "pixelate": PIXELATE,
    "contrast": CONTRAST,
    "elastic_transform": ELASTIC_TRANSFORM,
    "jpeg_compression": JPEG_COMPRESSION,
}
SIDES = {"cifar": 32, "imagenet": 224}  # for which the constants were made
SIZES = {
    "cifar": range(32, 85),
    "imagenet": range(85, 4097),
}  # that take them: the nearer side by ratio, 84.7 = √(32·224)
SAVED_QUALITY = 85  # of the JPEG files that ImageNet-C consists of


def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    benchmark: str | None = None,
    generator: Generator | None = None,
    save_as_jpeg: bool = True,
) -> Tensor:
    """Return corrupted copies of `images`, of the same shape, on the same device.

    Args:
        images: RGB, uint8 (N, 3, S, S), or one image (3, S, S); S is 32 to 84 for "cifar", 85 to 4096 for "imagenet".
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        benchmark: whose constants to use: "cifar" (CIFAR-10-C and CIFAR-100-C) or "imagenet" (ImageNet-C), by default
            those for S. They were made for S = 32 and S = 224 and do not follow S, though some are lengths in pixels.
        generator: where random numbers come from, on the images' device; torch's default one if None.
        save_as_jpeg: pass "imagenet" images through JPEG of quality 85 at the end, as the published files were.

    Raises:
        ValueError: an unknown name, severity or benchmark, or images of another type or size.
        ImportError: a library or texture that this corruption needs is not installed.
    """
    if images.ndim == 3:
        return corrupt(images[None], name, severity, benchmark, generator, save_as_jpeg)[0]
    benchmark = benchmark or ("imagenet" if images.shape[-1] in SIZES["imagenet"] else "cifar")
    draws = sample(images, name, severity, benchmark, generator)
    corrupted = apply(images, name, severity, benchmark, draws)
    if benchmark == "imagenet" and save_as_jpeg:
        corrupted = through_jpeg(corrupted, SAVED_QUALITY)
    return corrupted


def constants_for(side: int) -> str:
    """Return the benchmark whose constants images of `side` pixels take.

    Raises:
        UserError: they are too small, or too large.
    """
    for name, sizes in SIZES.items():
        if side in sizes:
            return name
    raise UserError(f"images of {side} pixels cannot be corrupted; give dataset.image_size=32 or more, at most 4096")


def sample(
    images: Tensor, name: str, severity: int, benchmark: str = "cifar", generator: Generator | None = None
) -> Draws:
    """Return the random numbers of one corruption of `images`; each tensor has the batch as its first dimension."""
    setting = _setting(images, name, severity, benchmark)
    return CORRUPTIONS[name].sample(images, setting, generator)


@full_precision()
def apply(images: Tensor, name: str, severity: int, benchmark: str, draws: Draws) -> Tensor:
    """Return `images` corrupted with the random numbers `draws`: a pure function; no JPEG at the end."""
    setting = _setting(images, name, severity, benchmark)
    return CORRUPTIONS[name].apply(images, setting, draws)


def _setting(images: Tensor, name: str, severity: int, benchmark: str) -> Any:
    if name not in CORRUPTIONS:
        close = difflib.get_close_matches(name, CORRUPTIONS, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(CORRUPTIONS)}"
        raise ValueError(f"unknown corruption {name!r}; {hint}")
    if benchmark not in SIDES:
        raise ValueError(f"unknown benchmark {benchmark!r}; choose from {', '.join(SIDES)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, not {severity!r}")
    side, sizes = images.shape[-1], SIZES[benchmark]
    if images.dtype != torch.uint8:
        raise ValueError(f"images are {images.dtype}: corrupt them as uint8, before they are normalised")
    if images.shape[1:] != (3, side, side):
        raise ValueError(f"images have shape {tuple(images.shape)}: pass square RGB images (N, 3, S, S) or (3, S, S)")
    if side not in sizes:
        raise ValueError(
            f"images of {side} pixels are outside benchmark={benchmark!r}, {sizes[0]} to {sizes[-1]}: resize them, or "
            "choose the other benchmark"
        )
    corruption = CORRUPTIONS[name]
    settings = corruption.cifar if benchmark == "cifar" else corruption.imagenet
    return settings[severity - 1]
