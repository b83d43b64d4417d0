"""Brightness, contrast and saturation.

In float64 and in the order of scikit-image's formulas, because many results are whole numbers, or would be without
rounding, and the cast to uint8 truncates.
"""

import torch
from torch import Tensor

from smoothmix.corruptions.corruption import Corruption, Draws


def _contrast(images: Tensor, setting: float, draws: Draws) -> Tensor:
    """Move every value towards the mean of its image and channel."""
    values = images.double().div_(255)
    means = values.mean((-2, -1), keepdim=True)
    values.sub_(means).mul_(setting).add_(means)
    return values.clamp_(0, 1).mul_(255).to(torch.uint8)


def _brightness(images: Tensor, setting: float, draws: Draws) -> Tensor:
    """Raise the V of HSV."""
    hue, saturation, value = _to_hsv(images)
    return _from_hsv(hue, saturation, value.add_(setting).clamp_(0, 1))


def _saturate(images: Tensor, setting: tuple[float, float], draws: Draws) -> Tensor:
    """Scale the S of HSV and add to it. A grey pixel counts as red."""
    hue, saturation, value = _to_hsv(images)
    factor, offset = setting
    return _from_hsv(hue, saturation.mul_(factor).add_(offset).clamp_(0, 1), value)


def _to_hsv(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return hue in 0..6, saturation and value in 0..1, each float64 (N, S, S)."""
    colours = images.double().div_(255)
    red, green, blue = colours.unbind(1)
    value, low = colours.amax(1), colours.amin(1)
    spread = value - low
    grey = spread == 0
    saturation = (spread / value).masked_fill_(grey, 0)
    is_green, is_blue = green == value, blue == value
    hue = torch.where(is_green, blue - red, green - blue)
    hue = torch.where(is_blue, red - green, hue).div_(spread)
    hue.add_(is_green & ~is_blue, alpha=2).add_(is_blue, alpha=4).div_(6)
    hue.sub_(hue.floor()).mul_(6).masked_fill_(grey, 0)
    return hue, saturation, value


def _from_hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Return uint8 (N, 3, S, S): each channel is the value less a share of the saturation that the hue gives it."""
    red = torch.minimum(hue - 1, 5 - hue)
    green = torch.maximum(1 - hue, hue - 3)
    blue = torch.maximum(3 - hue, hue - 5)
    share = torch.stack((red, green, blue), 1).clamp_(0, 1)
    share.mul_(saturation[:, None]).neg_().add_(1)
    return share.mul_(value[:, None]).mul_(255).to(torch.uint8)


CONTRAST = Corruption(
    category="digital", cifar=(0.75, 0.5, 0.4, 0.3, 0.15), imagenet=(0.4, 0.3, 0.2, 0.1, 0.05), apply=_contrast
)
BRIGHTNESS = Corruption(
    category="weather", cifar=(0.05, 0.1, 0.15, 0.2, 0.3), imagenet=(0.1, 0.2, 0.3, 0.4, 0.5), apply=_brightness
)
SATURATE = Corruption(
    category="digital",
    cifar=((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)),
    imagenet=((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)),
    apply=_saturate,
)
