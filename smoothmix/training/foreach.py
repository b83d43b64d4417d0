"""Small operations of the forward pass done together: a deep network has hundreds of them, each a kernel of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# Exact types, whose code is known: the former hand their weights to one operation that autocast runs in the lower
# precision, the latter only add 1 to their counter, unless they average over all batches.
CAST = (nn.Conv2d, nn.Linear)
COUNTING = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Cast(torch.autograd.Function):
    """Copies of float32 tensors in `dtype`; of their gradients, copies in float32."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        copies = [torch.empty_like(weight, dtype=dtype) for weight in weights]
        torch._foreach_copy_(copies, weights)
        return tuple(copies)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        given = [gradient for gradient in gradients if gradient is not None]
        copies = [torch.empty_like(gradient, dtype=torch.float32) for gradient in given]
        torch._foreach_copy_(copies, given)
        remaining = iter(copies)
        return None, *(None if gradient is None else next(remaining) for gradient in gradients)


class _Counter:
    """Stands in for the counter of a BatchNorm layer, and notes what is added."""

    def __init__(self, added: list[int], index: int) -> None:
        self.added, self.index = added, index

    def add_(self, number: int) -> None:
        self.added[self.index] += number


class Foreach:
    """Casts the weights of `model` to the precision of autocast, and counts the batches of BatchNorm, in one operation.

    Autocast itself casts each weight before its layer and each gradient behind it, and every BatchNorm layer adds 1 to
    its `num_batches_tracked`. The bits are the same. Layers of other types than `CAST` and `COUNTING` do it themselves.
    """

    def __init__(self, model: nn.Module) -> None:
        modules = list(model.modules())
        self.weights: list[tuple[dict[str, Any], str]] = [
            (module._parameters, name) for module in modules if type(module) in CAST for name in ("weight", "bias")
        ]
        self.counters: list[dict[str, Any]] = [
            module._buffers
            for module in modules
            if type(module) in COUNTING and module.track_running_stats and module.momentum is not None
        ]

    @contextmanager
    def forward(self, dtype: torch.dtype | None) -> Iterator[None]:
        """Within, to be one forward pass, the layers have weights in `dtype` (None: their own) and no counters."""
        found = [(place, name, place.get(name)) for place, name in self.weights if dtype is not None]
        before = [entry for entry in found if entry[2] is not None and entry[2].dtype is torch.float32]
        shared = {id(weight): weight for *_, weight in before}
        copies = dict(zip(shared, _Cast.apply(dtype, *shared.values()), strict=True)) if shared else {}  # type: ignore[no-untyped-call]
        counters = [place["num_batches_tracked"] for place in self.counters]
        added = [0] * len(counters)
        try:
            for place, name, weight in before:
                place[name] = copies[id(weight)]
            for index, place in enumerate(self.counters):
                place["num_batches_tracked"] = _Counter(added, index)
            yield
        finally:
            for place, name, weight in before:
                place[name] = weight
            for place, counter in zip(self.counters, counters, strict=True):
                place["num_batches_tracked"] = counter
        if counters:
            torch._foreach_add_(counters, added)
