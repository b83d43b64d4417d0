"""Operations of torchvision and timm, under names that a configuration may give as `_target_`."""

from typing import Any


def torchvision_mixup(num_classes: int, alpha: float = 1.0) -> Any:
    """Return torchvision's `v2.MixUp`."""
    from torchvision.transforms import v2

    return v2.MixUp(num_classes=num_classes, alpha=alpha)


def torchvision_cutmix(num_classes: int, alpha: float = 1.0) -> Any:
    """Return torchvision's `v2.CutMix`."""
    from torchvision.transforms import v2

    return v2.CutMix(num_classes=num_classes, alpha=alpha)


def timm_mixup(num_classes: int, **options: Any) -> Any:
    """Return timm's `Mixup` with its own `options`, such as `mixup_alpha=0.8` and `cutmix_alpha=1.0`.

    It takes even batches only, and draws from NumPy's global generator, which checkpoints do not hold: a resumed run
    draws other numbers than an unbroken one.
    """
    from timm.data.mixup import Mixup

    return Mixup(num_classes=num_classes, **options)
