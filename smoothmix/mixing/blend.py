"""Apply a mask: the blend of two images (Eq. 3), and of their labels in the same proportion (Eq. 2 and 4).

A mask holds the share of the image itself; the rest, 1 - mask, is its partner's. A mask of ones changes nothing.
"""

import torch
from torch import Tensor


def blend(images: Tensor, targets: Tensor, partner: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Blend every image and its target with its partner's.

    The weight of an image's label is the mean share of its pixels, whatever the mask: both come from the same values.

    Args:
        images: (N, C, H, W), floating.
        targets: (N, K), class probabilities, float32.
        partner: (N,), int64: image i is blended with image partner[i].
        mask: float32 in [0, 1], the share of image i itself; (N, 1, H, W), with 1 for a dimension that is constant,
            as in (1, 1, H, W), one mask for the whole batch, or (N, 1, 1, 1), one number an image.

    Returns:
        Blended images, in the shape and dtype of `images`, and targets (N, K), float32. The inputs are not modified.
    """
    # The label follows the mask as it is applied, after rounding to the images' dtype.
    mask = mask.to(images.dtype)
    return mix_images(images, partner, mask), mix_targets(targets, partner, label_weight(mask))


def mix_images(images: Tensor, partner: Tensor, mask: Tensor) -> Tensor:
    """Return mask * images + (1 - mask) * images[partner] (Eq. 3), computed in the dtype of `images`.

    Where the mask is exactly 1 or 0 the result is a copy of one image's pixel, bit for bit, whatever the other holds.
    Any tensor (N, ...) that broadcasts with `mask` will do, hidden activations too.
    """
    mask = mask.to(images.dtype)
    others = images[partner]
    mixed = torch.where(mask == 1, images, torch.lerp(others, images, mask))
    return torch.where(mask == 0, others, mixed)


def erase(images: Tensor, mask: Tensor) -> Tensor:
    """Return a copy of `images` (N, C, H, W) with zeros where the mask (N or 1, 1, H, W) is 0."""
    # where, not masked_fill, which loses the memory format; a zero made on the device, not copied to it.
    return torch.where(mask == 0, images.new_zeros(()), images)


def label_weight(mask: Tensor) -> Tensor:
    """Return the mean of a mask (N or 1, 1, H, W) over its pixels, float32 of shape (N or 1,): lambda of Eq. 2."""
    return mask.float().mean(dim=(1, 2, 3))


def mix_targets(targets: Tensor, partner: Tensor, weight: Tensor) -> Tensor:
    """Return weight * targets + (1 - weight) * targets[partner] (Eq. 4) for `weight` of shape (N,) or (1,)."""
    weight = weight[:, None]
    return weight * targets + (1 - weight) * targets[partner]


def to_targets(images: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Check a batch and return its labels as class probabilities (N, K), float32.

    The values of the labels are not checked, since reading them would make the host wait for the device: a label
    outside [0, K) becomes a row of zeros. Data sets check their labels when they load them.

    Args:
        images: (N, C, H, W), floating.
        labels: (N,), integer class indices, or (N, K), class probabilities.
        num_classes: K.

    Raises:
        TypeError: not tensors, images that are not floating, or class indices that are not integers.
        ValueError: shapes that do not fit one another, or two devices.
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
    if labels.ndim not in (1, 2):
        raise ValueError(f"labels have shape {tuple(labels.shape)}: pass class indices (N,) or probabilities (N, K).")
    if len(images) != len(labels):
        raise ValueError(f"there are {len(images)} images but {len(labels)} labels: pass one label an image.")
    if images.device != labels.device:
        raise ValueError(f"images are on {images.device} and labels on {labels.device}: move both to one device.")
    if labels.ndim == 2:
        if labels.shape[1] != num_classes:
            raise ValueError(
                f"labels have {labels.shape[1]} columns but num_classes is {num_classes}: pass one column a class."
            )
        return labels.float()
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"class indices are {labels.dtype}: convert them with labels.long().")
    # A comparison, not torch.nn.functional.one_hot, which reads the labels on the host.
    return (labels[:, None] == torch.arange(num_classes, device=labels.device)).float()
