"""Apply a mask: the blend of two images (Eq. 3), and of their labels in the same proportion (Eq. 2 and 4).

A mask holds the share of the image itself; the rest, 1 - mask, is its partner's. A mask of ones changes nothing.
"""

import math

import torch
from torch import Tensor

from smoothmix.mixing.on_cpu import may_read, mix_on_cpu


def blend(images: Tensor, targets: Tensor, partner: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Blend every image and its target with its partner's.

    The weight of an image's label is the mean share of its pixels, whatever the mask: both come from the same values.
    With label maps it is the share at each pixel.

    Args:
        images: (N, C, H, W), floating.
        targets: (N, K), class probabilities, float32, or (N, K, H, W), of each pixel.
        partner: (N,), int64: image i is blended with image partner[i].
        mask: float32 in [0, 1], the share of image i itself; (N, 1, H, W), with 1 for a dimension that is constant,
            as in (1, 1, H, W), one mask for the whole batch, or (N, 1, 1, 1), one number per image.

    Returns:
        Blended images and targets, in the shape and dtype of each. The inputs are not modified.
    """
    # The label follows the mask as it is applied, after rounding to the images' dtype.
    mask = mask.to(images.dtype)
    mix = mix_on_cpu if may_read(images) else mix_images
    if targets.ndim == 4:
        return mix(images, partner, mask), mix(targets, partner, mask.float())
    targets = mix_targets(targets, partner, label_weight(mask))  # first, while the mask is in the cache
    return mix(images, partner, mask), targets


def mix_images(images: Tensor, partner: Tensor, mask: Tensor) -> Tensor:
    """Return mask * images + (1 - mask) * images[partner] (Eq. 3), computed in the dtype of `images`.

    Where the mask is exactly 1 or 0 the result is a copy of one image's pixel, bit for bit, whatever the other holds.
    Any tensor (N, ...) that broadcasts with `mask` will do, hidden activations too.
    """
    return mix_pair(images, images[partner], mask.to(images.dtype))


def mix_pair(images: Tensor, others: Tensor, mask: Tensor) -> Tensor:
    """Return mask * images + (1 - mask) * others, all of one dtype; see `mix_images`."""
    # where, because 0 times a NaN or an infinity is a NaN.
    mixed = torch.where(mask == 1, images, torch.lerp(others, images, mask))
    return torch.where(mask == 0, others, mixed)


def erase(images: Tensor, mask: Tensor) -> Tensor:
    """Return a copy of `images` (N, C, H, W) with zeros where the mask (N or 1, 1, H, W) is 0."""
    # masked_fill itself would lose the memory format.
    return images.clone().masked_fill_(mask == 0, 0)


def label_weight(mask: Tensor) -> Tensor:
    """Return the mean of a mask (N or 1, 1, H, W) over its pixels, float32 of shape (N or 1,): lambda of Eq. 2."""
    return mask.float().mean(dim=(1, 2, 3))


def mix_targets(targets: Tensor, partner: Tensor, weight: Tensor) -> Tensor:
    """Return weight * targets + (1 - weight) * targets[partner] (Eq. 4) for `weight` of shape (N,) or (1,)."""
    weight = weight.view(-1, *[1] * (targets.ndim - 1))
    return torch.lerp(targets.index_select(0, partner), targets, weight)


def to_targets(images: Tensor, labels: Tensor, num_classes: int, ignore_index: int = -100) -> Tensor:
    """Check a batch and return its labels as class probabilities (N, K) or, of label maps, (N, K, H, W), float32.

    A class index outside [0, K) is an error on a CPU. On a GPU the host would have to wait to see it: there the target
    is NaN in every class, and so is the loss.

    Args:
        images: (N, C, H, W), floating.
        labels: (N,), integer class indices, or (N, K), class probabilities; for label maps (N, H, W) or (N, K, H, W).
        num_classes: K.
        ignore_index: pixels of a label map (N, H, W) with this index get no class at all: zeros.

    Raises:
        TypeError: not tensors, images that are not floating, or class indices that are not integers.
        ValueError: shapes that do not fit one another, two devices, or (on a CPU) a class index outside [0, K).
    """
    if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
        raise TypeError(
            f"images and labels must be tensors, but got {type(images).__name__} and {type(labels).__name__}: "
            "collate the batch first."
        )
    if not images.is_floating_point():
        raise TypeError(f"images are {images.dtype}: convert them to floating point and normalise them before mixing.")
    if images.ndim != 4:
        raise ValueError(f"images have shape {tuple(images.shape)}: pass a batch of shape (N, C, H, W).")
    if not 1 <= labels.ndim <= 4 or (labels.ndim > 2 and labels.shape[-2:] != images.shape[-2:]):
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}: pass class indices (N,) or probabilities (N, K), for label maps "
            f"(N, H, W) or (N, K, H, W) with the images' H and W, {tuple(images.shape[-2:])}."
        )
    if images.shape[0] != labels.shape[0]:
        raise ValueError(f"there are {images.shape[0]} images but {labels.shape[0]} labels: pass one label per image.")
    if images.device != labels.device:
        raise ValueError(f"images are on {images.device} and labels on {labels.device}: move both to one device.")
    if labels.ndim in (2, 4):
        if labels.shape[1] != num_classes:
            raise ValueError(
                f"labels have {labels.shape[1]} columns but num_classes is {num_classes}: pass one column per class."
            )
        return labels.float()
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"class indices are {labels.dtype}: convert them with labels.long().")
    if labels.ndim == 1 and may_read(labels) and len(labels):
        least, most = (end.item() for end in labels.aminmax())
        if least >= 0 and most < num_classes:
            targets = torch.zeros(len(labels), num_classes, dtype=torch.float32, device=labels.device)
            return targets.scatter_(1, labels.long()[:, None], 1)
    # A comparison, not torch.nn.functional.one_hot, which reads the labels on the host.
    classes = torch.arange(num_classes, device=labels.device).view(-1, *[1] * (labels.ndim - 1))
    labels = labels.long()  # a uint8 map of 156 would equal an ignore_index of -100
    targets = (labels[:, None] == classes).float()
    outside = (labels < 0) | (labels >= num_classes)
    if labels.ndim == 3:
        ignored = labels == ignore_index
        outside &= ~ignored
        if 0 <= ignore_index < num_classes:
            targets.masked_fill_(ignored[:, None], 0)
    if not may_read(labels):
        return targets.masked_fill_(outside[:, None], math.nan)
    if bool(outside.any()):
        raise ValueError(
            f"a class index is {labels[outside][0]}, outside 0 to {num_classes - 1}: correct the labels or num_classes."
        )
    return targets
