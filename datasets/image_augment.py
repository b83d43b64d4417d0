"""Augmentation of single training images after crop and flip: none, AutoAugment, or AugMix."""

import difflib
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import ImageOps
from PIL.Image import Image, Resampling, Transform
from torch import Tensor

from datasets.augment import to_float
from datasets.decode import pixels
from smoothmix.utils.errors import UserError

AUGMENTATIONS = ("none", "autoaugment", "augmix")


class ImageAugment(Protocol):
    """Makes `views` images of one: called in a worker, finished on the device."""

    views: int

    def __call__(self, image: Image, seed: int) -> tuple[Tensor, ...]:
        """Augment an RGB image (S, S) with the random numbers that follow from `seed`."""

    def to_float(self, *columns: Tensor) -> Tensor:
        """Turn what n calls returned, stacked, into float32 (views * n, 3, S, S) in [0, 1]."""


def check_augment(name: str) -> None:
    """Raise UserError unless `name` is one of `AUGMENTATIONS`."""
    if name not in AUGMENTATIONS:
        close = difflib.get_close_matches(name, AUGMENTATIONS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"augment={name} is not one of {', '.join(AUGMENTATIONS)}{hint}")


def image_augment(name: str, policy: str, severity: int) -> ImageAugment:
    """Return the augmentation called `name`.

    Args:
        name: "none", "autoaugment" or "augmix".
        policy: of AutoAugment, "cifar10" or "imagenet".
        severity: of AugMix.

    Raises:
        UserError: another name.
    """
    check_augment(name)
    if name == "autoaugment":
        return AutoAugment(policy)
    if name == "augmix":
        return AugMix(severity)
    return Unchanged()


class Unchanged:
    """No augmentation beyond crop and flip."""

    views = 1

    def __call__(self, image: Image, seed: int) -> tuple[Tensor, ...]:
        """Return the image as uint8 (S, S, 3)."""
        return (pixels(image),)

    def to_float(self, images: Tensor) -> Tensor:
        """Return uint8 (n, S, S, 3) as float32 (n, 3, S, S) in [0, 1]."""
        return to_float(images.permute(0, 3, 1, 2))


# What comes in from outside a turned or moved image, as in the authors' code: the mean of CIFAR's training images (it
# writes 0 after the normalisation), and grey on ImageNet.
FILL = {"cifar10": (125, 123, 114), "imagenet": (128, 128, 128)}


class AutoAugment(Unchanged):
    """AutoAugment (Cubuk et al., CVPR 2019), as torchvision has it: one of 25 sub-policies, drawn for each image.

    Args:
        policy: "cifar10" or "imagenet", the data set on which the policy was found.
    """

    def __init__(self, policy: str):
        from torchvision import transforms  # takes seconds

        self.transform = transforms.AutoAugment(transforms.AutoAugmentPolicy(policy), fill=FILL[policy])

    def __call__(self, image: Image, seed: int) -> tuple[Tensor, ...]:
        """Return the augmented image as uint8 (S, S, 3)."""
        # torchvision draws from the global generator. Not torch.manual_seed, which would seed the GPUs' too.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return (pixels(self.transform(image)),)


# ---- AugMix (Hendrycks et al., ICLR 2020): blends of short random chains of operations

WIDTH = 3  # chains in a blend
DEPTH = 3  # operations in a chain: 1 to this many
LEAST_LEVEL = 0.1


def _affine(image: Image, *coefficients: float) -> Image:
    """Let the pixel at (x, y) be that at (a x + b y + c, d x + e y + f), bilinearly, black outside."""
    return image.transform(image.size, Transform.AFFINE, coefficients, Resampling.BILINEAR)


# (image, level, sign) -> image. Level 10 is the strongest: 30 degrees, a shear of 0.3, a third of the side; as in the
# authors' code, bits, degrees, thresholds and pixels are truncated to whole numbers. None of these operations is a
# corruption of the -C benchmarks, which is why contrast, colour, brightness and sharpness are missing.
OPERATIONS: dict[str, Callable[[Image, float, int], Image]] = {
    "autocontrast": lambda image, level, sign: ImageOps.autocontrast(image),
    "equalize": lambda image, level, sign: ImageOps.equalize(image),
    "posterize": lambda image, level, sign: ImageOps.posterize(image, 4 - int(0.4 * level)),
    "rotate": lambda image, level, sign: image.rotate(sign * int(3 * level), Resampling.BILINEAR),
    "solarize": lambda image, level, sign: ImageOps.solarize(image, 256 - int(25.6 * level)),
    "shear_x": lambda image, level, sign: _affine(image, 1, sign * 0.03 * level, 0, 0, 1, 0),
    "shear_y": lambda image, level, sign: _affine(image, 1, 0, 0, sign * 0.03 * level, 1, 0),
    "translate_x": lambda image, level, sign: _affine(image, 1, 0, sign * int(level * image.width / 30), 0, 1, 0),
    "translate_y": lambda image, level, sign: _affine(image, 1, 0, 0, 0, 1, sign * int(level * image.height / 30)),
}


class Operation(NamedTuple):
    """A key of `OPERATIONS`, its level, and its direction, 1 or -1."""

    name: str
    level: float
    sign: int

    def __call__(self, image: Image) -> Image:
        """Apply it."""
        return OPERATIONS[self.name](image, self.level, self.sign)


class Blend(NamedTuple):
    """What is drawn for one view.

    `weights`: (1 + WIDTH,) float32, of the clean image and of the end of each chain; they sum to 1.
    """

    weights: Tensor
    chains: list[list[Operation]]


def draw_blend(severity: float, generator: torch.Generator) -> Blend:
    """Draw a view.

    With m ~ Beta(1, 1) and w ~ Dirichlet(1, 1, 1), the clean image weighs 1 - m and chain i weighs m w_i. A chain has 1
    to 3 operations, all equally likely, each of a level uniform in 0.1..severity and of either direction.
    """
    m = torch.rand((), generator=generator, dtype=torch.float32)  # Beta(1, 1)
    # divided by their sum: Dirichlet(1, 1, 1)
    waits = torch.empty(WIDTH, dtype=torch.float32).exponential_(generator=generator)
    weights = torch.cat([(1 - m)[None], m * waits / waits.sum()])
    depths = torch.randint(1, DEPTH + 1, (WIDTH,), generator=generator).tolist()
    shape = (WIDTH, DEPTH)
    which = torch.randint(len(OPERATIONS), shape, generator=generator).tolist()
    levels = LEAST_LEVEL + (severity - LEAST_LEVEL) * torch.rand(shape, generator=generator, dtype=torch.float64)
    signs = (2 * torch.randint(2, shape, generator=generator) - 1).tolist()
    names = list(OPERATIONS)
    chains = [
        [Operation(names[i], *numbers) for i, *numbers in zip(*row[:3], strict=True)][: row[3]]
        for row in zip(which, levels.tolist(), signs, depths, strict=True)
    ]
    return Blend(weights, chains)


class AugMix:
    """Three views: the image itself and two blends.

    Workers do the operations, on uint8 images; the blending happens on the device, in [0, 1]. The authors blend after
    the normalisation, which is the same: it is affine, and the weights sum to 1.

    Args:
        severity: the highest level of an operation, 1 on ImageNet and 3 on CIFAR.
    """

    views = 3

    def __init__(self, severity: float):
        self.severity = severity

    def __call__(self, image: Image, seed: int) -> tuple[Tensor, Tensor]:
        """Return the image and the ends of all chains, uint8 (1 + 2 WIDTH, S, S, 3), and weights (2, 1 + WIDTH)."""
        generator = torch.Generator().manual_seed(seed)
        blends = [draw_blend(self.severity, generator) for _ in range(self.views - 1)]
        images = [image]
        for blend in blends:
            for chain in blend.chains:
                end = image
                for operation in chain:
                    end = operation(end)
                images.append(end)
        return torch.from_numpy(np.stack(images)), torch.stack([blend.weights for blend in blends])

    def to_float(self, images: Tensor, weights: Tensor) -> Tensor:
        """Return all clean images of a batch, all first and all second blends: float32 (3 n, 3, S, S) in [0, 1]."""
        images = images.permute(1, 0, 4, 2, 3)
        clean = to_float(images[0])
        views = [clean]
        for view, chains in enumerate(images[1:].split(WIDTH)):
            own = weights[:, view, :, None, None, None].unbind(1)
            blend = own[0] * clean
            for weight, end in zip(own[1:], chains, strict=True):
                blend += weight * to_float(end)
            views.append(blend)
        return torch.cat(views)
