"""AutoAugment (Cubuk et al., CVPR 2019), as torchvision has it."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchvision import transforms

from datasets.per_image import Unchanged, pixels

if TYPE_CHECKING:
    from PIL.Image import Image

# What comes in from outside a turned or moved image, as in the authors' code: the mean of CIFAR's training images (it
# writes 0 after the normalisation), and grey on ImageNet.
FILL = {"cifar10": (125, 123, 114), "imagenet": (128, 128, 128)}


class AutoAugment(Unchanged):
    """One of the 25 sub-policies of `policy`, drawn for each image; see :mod:`datasets.per_image` for the methods.

    Args:
        policy: "cifar10" or "imagenet", the data set on which the policy was found.
    """

    def __init__(self, policy: str):
        self.transform = transforms.AutoAugment(transforms.AutoAugmentPolicy(policy), fill=FILL[policy])

    def __call__(self, image: "Image", seed: int) -> tuple[Tensor, ...]:
        """Return the augmented image as uint8 (S, S, 3)."""
        # torchvision draws from the global generator. Not torch.manual_seed, which would seed the GPUs' too.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return (pixels(self.transform(image)),)
