"""The corruptions of CIFAR-10-C, CIFAR-100-C and ImageNet-C, generated in batches on the CPU or a GPU."""

from smoothmix.corruptions.corruption import SEVERITIES
from smoothmix.corruptions.generate import CORRUPTIONS, SIDES, apply, constants_for, corrupt, sample

__all__ = ["CORRUPTIONS", "SEVERITIES", "SIDES", "apply", "constants_for", "corrupt", "sample"]
