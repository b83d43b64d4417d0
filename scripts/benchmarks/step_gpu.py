"""How near a train step comes to what the GPU can do: rates measured in the same run, a floor, a profile."""

import statistics
from collections import Counter

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from scripts.benchmarks.timing import in_turn, markdown
from smoothmix.training.trainer import DTYPES, Trainer
from smoothmix.utils.distributed import Ranks

PROFILED_STEPS = 10


class Work(TorchDispatchMode):
    """Notes (FLOPs, bytes read and written) of each operation; those that only look at memory otherwise have none."""

    def __init__(self):
        super().__init__()
        self.operations: list[tuple[int, int]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        count = flop_registry.get(func._overloadpacket)
        flops = count(*args, **kwargs, out_val=out) if count else 0
        if not (func.is_view or func._overloadpacket in (torch.ops.aten.detach, torch.ops.aten.empty)):
            tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
            self.operations.append((flops, sum(x.numel() * x.element_size() for x in tensors)))
        return out


def floor(operations: list[tuple[int, int]], flops_per_second: float, bytes_per_second: float) -> float:
    """Return the seconds that the operations take at least, one after the other: the slower of counting and moving."""
    return sum(max(flops / flops_per_second, moved / bytes_per_second) for flops, moved in operations)


def busy(intervals: list[tuple[float, float]]) -> float:
    """Return the share of the time from the first start to the last end in which at least one interval runs."""
    covered, end = 0.0, min(start for start, _ in intervals)
    for start, stop in sorted(intervals):
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return covered / (end - min(start for start, _ in intervals))


def measure(trainer: Trainer, step, milliseconds: float) -> dict:
    """Return rates, floor, busy share and the ten kernels that take most of the time of a trainer's `step`."""
    flops_per_second, bytes_per_second = rates(trainer.ranks, DTYPES.get(trainer.execution.precision, torch.float32))
    inputs = next(trainer.batches.inputs(0))
    with Work() as work:
        trainer.train_step(*inputs)
    least = floor(work.operations, flops_per_second, bytes_per_second)
    return {
        "tflops_per_second": flops_per_second / 1e12,
        "gb_per_second": bytes_per_second / 1e9,
        "tflop": sum(flops for flops, _ in work.operations) / 1e12,
        "gb": sum(moved for _, moved in work.operations) / 1e9,
        "floor_ms": 1000 * least,
        "share_of_floor": 1000 * least / milliseconds,
        **profile(step),
    }


def rates(ranks: Ranks, dtype: torch.dtype) -> tuple[float, float]:
    """Return FLOP/s of a matrix product and bytes/s of a copy, reading and writing: medians of ten."""
    side, one_gib = 8192, 2**30
    left, right = (torch.randn(side, side, device=ranks.device, dtype=dtype) for _ in range(2))
    source, target = (torch.empty(one_gib, device=ranks.device, dtype=torch.uint8) for _ in range(2))
    times = in_turn({"product": lambda: left @ right, "copy": lambda: target.copy_(source)}, 10, ranks)
    return 2 * side**3 / statistics.median(times["product"]), 2 * one_gib / statistics.median(times["copy"])


def profile(step) -> dict:
    """Return the busy share of the GPU over ten steps, and microseconds a step of the kernels that take the most."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(PROFILED_STEPS):
            step()
        torch.cuda.synchronize()
    kernels = [
        event
        for event in profiler.events()
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.is_user_annotation
    ]
    intervals = [(event.time_range.start, event.time_range.end) for event in kernels]
    taken: Counter[str] = Counter()
    for event in kernels:
        taken[event.name] += (event.time_range.end - event.time_range.start) / PROFILED_STEPS
    return {"busy": busy(intervals), "kernels_us": dict(taken.most_common(10))}


def parts(gpu: dict) -> list[str]:
    """Return what :func:`measure` found as Markdown: a paragraph and a table."""
    return [
        f"A product of matrices does {gpu['tflops_per_second']:.0f} TFLOP/s, a copy {gpu['gb_per_second']:.0f} GB/s. "
        f"The operations of the fastest form, {gpu['tflop']:.3f} TFLOP and {gpu['gb']:.2f} GB, take "
        f"{gpu['floor_ms']:.2f} ms at these rates, each by itself: {100 * gpu['share_of_floor']:.1f} % of what the "
        f"step takes. The GPU is busy {100 * gpu['busy']:.1f} % of the time.",
        markdown([{"kernel": f"`{name[:90]}`", "µs/step": f"{us:.0f}"} for name, us in gpu["kernels_us"].items()]),
    ]
