"""SmoothMix and the methods it is compared with, for PyTorch: callables on a batch that need nothing but torch.

Each strategy takes ``(images, labels)`` and returns ``(images, targets)``, like torchvision's ``v2.MixUp``::

    mix = smoothmix.SmoothMixC(num_classes=100)
    for images, labels in loader:
        images, targets = mix(images.cuda(), labels.cuda())
        loss = torch.nn.functional.cross_entropy(model(images), targets)
"""

from pathlib import Path

from torch import nn

from smoothmix.mixing.center_gaussian import CenterGaussian
from smoothmix.mixing.cutmix import CutMix
from smoothmix.mixing.cutout import Cutout
from smoothmix.mixing.hide_and_seek import HideAndSeek
from smoothmix.mixing.identity import Identity
from smoothmix.mixing.label_smoothing import LabelSmoothing
from smoothmix.mixing.manifold_mixup import ManifoldMixup
from smoothmix.mixing.masks import box_mask, gaussian_mask, square_mask
from smoothmix.mixing.mixup import Mixup
from smoothmix.mixing.peers import timm_mixup, torchvision_cutmix, torchvision_mixup
from smoothmix.mixing.smoothmix import SmoothMixC, SmoothMixS

__version__ = "0.1.0"
__all__ = [
    "CenterGaussian",
    "CutMix",
    "Cutout",
    "HideAndSeek",
    "Identity",
    "LabelSmoothing",
    "ManifoldMixup",
    "Mixup",
    "SmoothMixC",
    "SmoothMixS",
    "box_mask",
    "gaussian_mask",
    "square_mask",
    "timm_mixup",
    "torchvision_cutmix",
    "torchvision_mixup",
]


# not in __all__, whose names a configuration may give as mixing._target_
def load_pretrained(folder: str | Path) -> nn.Module:
    """Return the network that scripts/export.py wrote to `folder`; see :mod:`smoothmix.pretrained`."""
    from smoothmix import pretrained  # here, because it needs more than torch

    return pretrained.load_pretrained(folder)
