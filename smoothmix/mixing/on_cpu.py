"""Eq. 3 on a CPU, where a mask may be looked at first: passes over memory that it does not need are left out."""

from typing import Any

import torch
from torch import Tensor


def may_read(tensor: Tensor) -> bool:
    """Whether reading values costs nothing: on a GPU the host would wait; autograd and compilers cannot follow."""
    return tensor.device.type == "cpu" and not tensor.requires_grad and not torch.compiler.is_compiling()


def mix_on_cpu(images: Tensor, partner: Tensor, mask: Tensor) -> Tensor:
    """Return what `smoothmix.mixing.blend.mix_images` does, bit for bit; all of one dtype."""
    low, high = (float(end) for end in mask.aminmax())
    hard, one_for_all = _is_hard(mask[:1]) and _is_hard(mask), len(mask) == 1
    if hard and one_for_all:
        hole = _box(mask == 0)
        if not bool(mask[hole].any()):  # a rectangle of the partner, or nothing, and the image itself around it
            mixed = images.clone()
            torch.index_select(images[hole], 0, partner, out=mixed[hole])
            return mixed
    # Into a tensor of our own: index_select itself would lose the memory format.
    mixed = torch.index_select(images, 0, partner, out=torch.empty_like(images))
    if hard:
        return torch.where(mask == 1, images, mixed, out=mixed)
    box = _box(mask != 0) if one_for_all and low == 0 else (...,)
    images, others, mask = images[box], mixed[box], mask[box]
    zeros = low == 0 and float(mask.amin()) == 0
    blended = torch.lerp(others, images, mask) if zeros else others.lerp_(images, mask)
    if high == 1:
        own = mask == 1
        box = _box(own) if one_for_all else (...,)
        torch.where(own[box], images[box], blended[box], out=blended[box])
    if zeros:
        torch.where(mask == 0, others, blended, out=others)
    return mixed


def _is_hard(mask: Tensor) -> bool:
    """Whether all values of a mask are 0 or 1."""
    return torch.equal(mask, mask.round())


def _box(there: Tensor) -> tuple[Any, ...]:
    """Return the slices of an image that hold all true values of (1, 1, H or 1, W or 1)."""
    return (..., _extent(there[0, 0].any(dim=1)), _extent(there[0, 0].any(dim=0)))


def _extent(there: Tensor) -> slice:
    """Return from where to where a row of booleans is true; one alone stands for all of a constant dimension."""
    values = there.tolist()
    if True not in values:
        return slice(0)
    return slice(values.index(True), len(values) - values[::-1].index(True)) if len(values) > 1 else slice(None)
