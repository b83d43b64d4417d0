"""What a train step is made of, beside the network: the loss, casts, gradients of several ranks, and the pace."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import DistBackendError
from torch.nn import functional as F

from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError

CONSISTENCY_WEIGHT = 12.0  # AugMix, appendix and code
AHEAD = 2  # steps that the host may queue before the device has done them


def classification_loss(logits: Tensor, targets: Tensor, views: int = 1) -> Tensor:
    """Return the mean cross-entropy and, with three views of each image, AugMix's consistency loss beside it.

    Args:
        logits: (views * n, K), of any floating dtype; all first views, all second, all third.
        targets: (views * n, K) class probabilities, in the same order.
        views: 1 or 3. With 3 the cross-entropy is that of the first n images, the clean ones, and twelve times
            :func:`jensen_shannon` of the three is added.

    Returns:
        float32, a number.
    """
    logits = logits.float()
    if views == 1:
        return F.cross_entropy(logits, targets)
    first, second, third = logits.chunk(views)
    return F.cross_entropy(first, targets[: len(first)]) + CONSISTENCY_WEIGHT * jensen_shannon(first, second, third)


def jensen_shannon(*logits: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of predictions for the same images, in nats, a mean over the batch.

    That is the mean over the views of KL(p || m), m being the mean of their probabilities p, and not below 1e-7 (the
    authors' clamp). Computed from log-probabilities: where a probability underflows to 0, log p would have no gradient.

    Args:
        logits: (n, K) for each view, float32.
    """
    log_p = torch.stack(logits).log_softmax(dim=2)
    p = log_p.exp()
    log_m = p.mean(dim=0).clamp(1e-7, 1).log()
    return (p * (log_p - log_m)).sum(dim=2).mean()


# Exact types, whose code is known: what they do with a weight and a bias, and that they add 1 to their counter.
FORWARD: dict[type, Callable[..., Tensor]] = {
    nn.Conv2d: lambda layer, weight, bias, input: layer._conv_forward(input, weight, bias),
    nn.Linear: lambda layer, weight, bias, input: F.linear(input, weight, bias),
}
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
    its `num_batches_tracked`. The bits are the same. Layers of other types than `FORWARD` and `COUNTING` do it
    themselves, and so do BatchNorm layers that average over all batches, which need their counter.
    """

    def __init__(self, model: nn.Module) -> None:
        modules = list(model.modules())
        self.layers = [
            module
            for module in modules
            if type(module) in FORWARD
            and "forward" not in vars(module)
            and list(module._parameters) == ["weight", "bias"]  # pruned or normalised ones have others
        ]
        self.counters: list[dict[str, Any]] = [
            module._buffers
            for module in modules
            if type(module) in COUNTING and module.track_running_stats and module.momentum is not None
        ]

    @contextmanager
    def forward(self, dtype: torch.dtype | None) -> Iterator[None]:
        """Within, to be one forward pass, the layers use weights in `dtype` (None: their own) and other counters."""
        weights = {
            id(weight): weight
            for layer in (self.layers if dtype is not None else ())
            for weight in layer.parameters(recurse=False)
            if weight.dtype is torch.float32
        }
        copies = dict(zip(weights, _Cast.apply(dtype, *weights.values()), strict=True)) if weights else {}  # type: ignore[no-untyped-call]
        counters = [place["num_batches_tracked"] for place in self.counters]
        added = [0] * len(counters)
        try:
            for layer in self.layers if copies else ():
                own = (copies.get(id(weight), weight) for weight in layer._parameters.values())
                vars(layer)["forward"] = partial(FORWARD[type(layer)], layer, *own)  # found before its class's method
            for index, place in enumerate(self.counters):
                place["num_batches_tracked"] = _Counter(added, index)
            yield
        finally:
            for layer in self.layers:
                vars(layer).pop("forward", None)
            for place, counter in zip(self.counters, counters, strict=True):
                place["num_batches_tracked"] = counter
        if counters:
            torch._foreach_add_(counters, added)


class FlatGradients:
    """The gradients of `model` in one buffer: one all-reduce averages them.

    DistributedDataParallel averages in buckets from within the backward pass, which computes meanwhile. The numbers are
    the same: for two ranks to the bit, for more up to the order in which each number is summed over the ranks. The
    weights of rank 0 become those of all ranks.
    """

    def __init__(self, model: nn.Module, ranks: Ranks) -> None:
        self.ranks = ranks
        self.weights: dict[str, Tensor] = {
            name: weight for name, weight in model.named_parameters() if weight.requires_grad
        }
        weights = list(self.weights.values())
        self.buffer = torch.empty(sum(weight.numel() for weight in weights), device=ranks.device)
        parts = torch.split(self.buffer, [weight.numel() for weight in weights])
        # in the memory format of the weight, as the optimiser wants it
        self.parts = [part.as_strided(w.shape, w.stride()) for part, w in zip(parts, weights, strict=True)]
        with torch.no_grad():
            torch._foreach_copy_(self.parts, weights)
            ranks.copy_from_main([self.buffer])
            torch._foreach_copy_(weights, self.parts)

    @torch.no_grad()
    def average(self) -> None:
        """Overwrite the gradient of each weight with its mean over the ranks.

        Raises:
            UserError: a weight has none.
        """
        missing = [name for name, weight in self.weights.items() if weight.grad is None]
        if missing:
            raise UserError(
                f"step=graph on several ranks needs gradients of all weights, and {missing[0]} has none; use step=eager"
            )
        torch._foreach_copy_(self.parts, [weight.grad for weight in self.weights.values()])  # type: ignore[misc]
        self.buffer.mul_(1 / self.ranks.world_size)  # before the sum, as DistributedDataParallel does
        self.ranks.sum(self.buffer)
        for weight, part in zip(self.weights.values(), self.parts, strict=True):
            weight.grad = part


class Pace:
    """Keeps the host at most `AHEAD` steps ahead of a GPU, so that queued batches do not fill its memory.

    A step that takes longer than `limit` seconds raises DistBackendError: the GPU waits for a rank that is lost.
    """

    def __init__(
        self, device: torch.device, limit: float | None = None, event: Callable[[], Any] = torch.cuda.Event
    ) -> None:
        self.device, self.limit, self.event = device, limit, event
        self.events: deque[Any] = deque()

    def __call__(self) -> None:
        """Mark the end of a step, and wait for the one `AHEAD` steps before."""
        if self.device.type != "cuda":
            return
        event = self.event()
        event.record()
        self.events.append(event)
        if len(self.events) > AHEAD:
            self._wait(self.events.popleft())

    def finish(self) -> None:
        """Wait for all steps."""
        while self.events:
            self._wait(self.events.popleft())

    def _wait(self, event: Any) -> None:
        if self.limit is None:
            event.synchronize()
            return
        deadline = time.monotonic() + self.limit
        while not event.query():
            if time.monotonic() > deadline:
                raise DistBackendError(f"a train step was not done within {self.limit:g} seconds")
            time.sleep(0.0005)
