"""Masks and mixing strategies: what the paper is about.

`masks` computes masks from numbers, `blend` applies a mask to images and targets, `strategy` draws pairs and the
p-coin, and one file for each method draws the numbers of its mask.
"""

from smoothmix.mixing.blend import blend, erase, label_weight, mix_images, mix_targets, to_targets
from smoothmix.mixing.center_gaussian import CenterGaussian
from smoothmix.mixing.cutmix import CutMix, cutmix_mask
from smoothmix.mixing.cutout import Cutout
from smoothmix.mixing.hide_and_seek import HideAndSeek
from smoothmix.mixing.identity import Identity
from smoothmix.mixing.label_smoothing import LabelSmoothing
from smoothmix.mixing.manifold_mixup import ManifoldMixup
from smoothmix.mixing.masks import box_mask, gaussian_mask, square_mask
from smoothmix.mixing.mixup import Mixup
from smoothmix.mixing.smoothmix import SmoothMix, SmoothMixC, SmoothMixS
from smoothmix.mixing.strategy import Strategy

__all__ = [
    "CenterGaussian",
    "CutMix",
    "Cutout",
    "HideAndSeek",
    "Identity",
    "LabelSmoothing",
    "ManifoldMixup",
    "Mixup",
    "SmoothMix",
    "SmoothMixC",
    "SmoothMixS",
    "Strategy",
    "blend",
    "box_mask",
    "cutmix_mask",
    "erase",
    "gaussian_mask",
    "label_weight",
    "mix_images",
    "mix_targets",
    "square_mask",
    "to_targets",
]
