"""SmoothMix and the methods it is compared with, for PyTorch: callables on a batch that need nothing but torch.

Each strategy takes ``(images, labels)`` and returns ``(images, targets)``, like torchvision's ``v2.MixUp``::

    mix = smoothmix.SmoothMixC(num_classes=100)
    for images, labels in loader:
        images, targets = mix(images.cuda(), labels.cuda())
        loss = torch.nn.functional.cross_entropy(model(images), targets)
"""

from smoothmix.mixing import (
    CenterGaussian,
    CutMix,
    Cutout,
    HideAndSeek,
    Identity,
    LabelSmoothing,
    ManifoldMixup,
    Mixup,
    SmoothMixC,
    SmoothMixS,
    box_mask,
    gaussian_mask,
    square_mask,
)

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
]
