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
    large = images[0].numel() >= LARGE
    least, most = (end.item() for end in mask.aminmax())
    if least > 0 and most < 1:
        if not large:
            return torch.index_select(images, 0, partner, out=mixed).lerp_(images, mask)
        for i, j in enumerate(partner.tolist()):  # in one pass
            torch.lerp(images[j], images[i], mask[i % len(mask)], out=mixed[i])
    elif len(mask) > 1 and not large:
        _lerp_and_copy(torch.index_select(images, 0, partner, out=mixed), images, mask)
    else:
        mask = mask.expand(-1, -1, *images.shape[2:])
        sides = ((mask.amin(dim=dim) < 1).flatten(1).tolist() for dim in (3, 2))  # of all masks
        for i, hole in enumerate(map(_box, *sides)):
            one = slice(None) if len(mask) == 1 else slice(i, i + 1)
            _mix(mixed[one], images[one], images, partner[one], mask[i : i + 1], hole)
    return mixed


def _mix(out: Tensor, own: Tensor, images: Tensor, partner: Tensor, mask: Tensor, hole: Any) -> None:
    """Write the blend of `own` and `images[partner]` into `out`, by one mask (1, 1, H, W) that has zeros or ones."""
    inside = mask[hole]
    if inside.numel() == 0 or inside.amax().item() == 0:
        if inside.numel() < mask.numel():
            out.copy_(own)
        torch.index_select(images[hole], 0, partner, out=out[hole])
        return
    torch.index_select(images, 0, partner, out=out)
    most = [mask.amax(dim=dim).flatten().tolist() for dim in (3, 2)]
    patch = _box(*([value > 0 for value in side] for side in most))
    inside = mask[patch]
    if inside.amin().item() == 0:
        _lerp_and_copy(out[patch], own[patch], inside)
        return
    out[patch].lerp_(own[patch], inside)
    core = _box(*([value == 1 for value in side] for side in most))
    inside = mask[core]
    if inside.numel() and inside.amin().item() == 1:
        out[core].copy_(own[core])
    else:
        torch.where(inside == 1, own[core], out[core], out=out[core])


def _box(rows: list[bool], columns: list[bool]) -> tuple[Any, ...]:
    """Return the slices of an image that hold every true row and every true column."""
    sides = bytes(rows), bytes(columns)  # which find in C
    return (..., *(slice(side.find(1), side.rfind(1) + 1) if 1 in side else slice(0) for side in sides))


def _lerp_and_copy(others: Tensor, own: Tensor, mask: Tensor) -> None:
    """Write what `mix_pair` returns into `others`."""
    torch.where(mask == 0, others, torch.lerp(others, own, mask), out=others)
    torch.where(mask == 1, own, others, out=others)
