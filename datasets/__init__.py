"""Where images come from. Every data set is a :class:`smoothmix.utils.data.ImageDataset`; there is no base class."""

from datasets.cifar import cifar10, cifar100
from datasets.digits import digits
from datasets.folder import class_folders

__all__ = ["cifar10", "cifar100", "class_folders", "digits"]
