"""Eq. 3 on a CPU, where a mask may be looked at first: passes over memory that it does not need are left out."""

from typing import Any

import torch
from torch import Tensor

LARGE = 3 * 96 * 96  # values of an image from which on calls for it alone cost less than the passes that they save


def may_read(tensor: Tensor) -> bool:
    """Whether reading values costs nothing: on a GPU the host would wait; autograd and compilers cannot follow."""
    return tensor.device.type == "cpu" and not tensor.requires_grad and not torch.compiler.is_compiling()


def mix_on_cpu(images: Tensor, partner: Tensor, mask: Tensor) -> Tensor:
    """Return what `smoothmix.mixing.blend.mix_images` does, bit for bit; all of one dtype."""
    mixed = torch.empty_like(images)  # index_select itself would lose the memory format
    _mix(mixed, images, images, partner, mask)
    return mixed


def _mix(out: Tensor, own: Tensor, images: Tensor, partner: Tensor, mask: Tensor) -> None:
    """Write the blend of `own` and `images[partner]` into `out`."""
    least, most = (end.item() for end in mask.aminmax())
    soft, large = least > 0 and most < 1, own.numel() >= LARGE * len(own)
    if least == 1:
        out.copy_(own)
    elif large and soft:  # in one pass
        for i, j in enumerate(partner.tolist()):
            torch.lerp(images[j], own[i], mask[i % len(mask)], out=out[i])
    elif large and len(mask) > 1:
        for i in range(len(mask)):
            one = slice(i, i + 1)
            _mix(out[one], own[one], images, partner[one], mask[one])
    elif soft:
        torch.index_select(images, 0, partner, out=out).lerp_(own, mask)
    elif len(mask) > 1 or most == 0:
        torch.index_select(images, 0, partner, out=out)
        _lerp_and_copy(out, own, mask)
    else:
        _mix_boxes(out, own, images, partner, mask.expand_as(own[:1, :1]))


def _mix_boxes(out: Tensor, own: Tensor, images: Tensor, partner: Tensor, mask: Tensor) -> None:
    """The same for one mask (1, 1, H, W) that has zeros or ones, which often fill a box or surround one."""
    # the least value of each row and of each column
    least = [mask.amin(dim=dim).flatten().tolist() for dim in (3, 2)]
    hole = _box([[value < 1 for value in side] for side in least])
    if mask[hole].amax().item() == 0:
        out.copy_(own)
        torch.index_select(images[hole], 0, partner, out=out[hole])
        return
    torch.index_select(images, 0, partner, out=out)
    most = [mask.amax(dim=dim).flatten().tolist() for dim in (3, 2)]
    patch = _box([[value > 0 for value in side] for side in most])
    if mask[patch].amin().item() == 0:
        _lerp_and_copy(out[patch], own[patch], mask[patch])
        return
    out[patch].lerp_(own[patch], mask[patch])
    core = _box([[value == 1 for value in side] for side in most])
    if mask[core].numel() and mask[core].amin().item() == 1:
        out[core].copy_(own[core])
    else:
        torch.where(mask[core] == 1, own[core], out[core], out=out[core])


def _box(sides: list[list[bool]]) -> tuple[Any, ...]:
    """Return the slices of an image that hold every true row and every true column."""
    return (..., *map(_span, sides))


def _span(side: list[bool]) -> slice:
    return slice(side.index(True), len(side) - side[::-1].index(True)) if True in side else slice(0)


def _lerp_and_copy(others: Tensor, own: Tensor, mask: Tensor) -> None:
    """Write what `mix_pair` returns into `others`."""
    torch.where(mask == 0, others, torch.lerp(others, own, mask), out=others)
    torch.where(mask == 1, own, others, out=others)
