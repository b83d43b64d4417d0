"""AutoAugment (Cubuk et al., CVPR 2019), as torchvision has it."""

import torch
from PIL.Image import Image
from torch import Tensor
from torchvision import transforms

from datasets.augment import to_float
from datasets.decode import pixels

# What comes in from outside a turned or moved image, as in the authors' code: the mean of CIFAR's training images (it
# writes 0 after the normalisation), and grey on ImageNet.
FILL = {"cifar10": (125, 123, 114), "imagenet": (128, 128, 128)}


class AutoAugment:
    """One of the 25 sub-policies of `policy`, drawn for each image; an :class:`datasets.image_augment.ImageAugment`.

    Args:
        policy: "cifar10" or "imagenet", the data set on which the policy was found.
    """

    views = 1

    def __init__(self, policy: str):
        self.transform = transforms.AutoAugment(transforms.AutoAugmentPolicy(policy), fill=FILL[policy])

    def __call__(self, image: Image, seed: int) -> tuple[Tensor, ...]:
        """Return the augmented image as uint8 (S, S, 3)."""
        # torchvision draws from the global generator. Not torch.manual_seed, which would seed the GPUs' too.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return (pixels(self.transform(image)),)

    def to_float(self, images: Tensor) -> Tensor:
        """Return uint8 (n, S, S, 3) as float32 (n, 3, S, S) in [0, 1]."""
        return to_float(images.permute(0, 3, 1, 2))
