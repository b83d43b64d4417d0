"""How fast a train step is, beside a plain one: torch's defaults, NCHW, launched kernel by kernel.

On a GPU also how near it comes to what the GPU can do: rates measured in the same run, a floor, a profile.
"""

import argparse
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from types import MethodType

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from models.pyramidnet import PyramidBlock
from scripts.benchmarks.timing import add_common_arguments, in_turn, markdown, page, table
from scripts.benchmarks.trainers import MODELS, step_of, trainer_of
from smoothmix.training.cuda_graph import WARM_UP
from smoothmix.training.recipe import AMPERE, Settings
from smoothmix.training.trainer import DTYPES, Trainer, numerics
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.numerics import full_precision

PROFILED_STEPS = 10
# torch's defaults: on a GPU that has TF32 convolutions are in TF32, products of matrices are not
PLAIN = {"cpu": "plain: fp32, NCHW, eager", "cuda": "plain: fp32 with TF32 convolutions, torch's default, NCHW, eager"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("--model", choices=MODELS, default="pyramidnet200")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1, help="steps in a row in each timed round; 20 on a GPU")
    add_common_arguments(parser, measure, to_markdown, ("batch", "steps"), repeats=7)


def measure(args: argparse.Namespace, ranks: Ranks) -> dict:
    """Return the record of these options."""
    with tempfile.TemporaryDirectory() as folder, numerics(False), full_precision():
        build = partial(trainer_of, args.model, args.batch, 4 * args.batch, ranks, Path(folder))
        trainers = {name: build(**settings) for name, settings in forms_on(ranks.device).items()}
        plain = build(precision="fp32", step="eager")
        peers = {PLAIN[ranks.device.type]: plain_step(plain)}
        peers |= {name: step_of(trainer) for name, trainer in trainers.items()}
        last, fastest = list(trainers.items())[-1]
        batch = fastest.batches.prepare(*next(fastest.batches.inputs(0)))
        peers["mixing alone"] = partial(fastest.mixing, *batch)
        # at first kernels are chosen and graphs captured
        times = in_turn(peers, args.repeats, ranks, args.steps, WARM_UP + 1 + args.steps, scale=1000)
        gpu = {}
        if ranks.device.type == "cuda":
            gpu["gpu"] = utilisation(fastest, peers[last], statistics.median(times[last]))
    return {"model": args.model, "batch": args.batch, "steps": args.steps, "ms_per_step": times, **gpu}


def forms_on(device: torch.device) -> dict[str, dict[str, str]]:
    """Return name and settings of each form that is timed on `device`; the last one is what train.py does there."""
    auto = Settings().on(Ranks(device))
    precisions = ["fp32"]
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= AMPERE:
        precisions.append("tf32")
    reduced = "bf16" if device.type == "cpu" else auto.precision
    if reduced not in precisions:
        precisions.append(reduced)
    return {
        f"{precision}, {'channels_last, ' * (precision in DTYPES)}{step}": {"precision": precision, "step": step}
        for step in dict.fromkeys(("eager", auto.step))
        for precision in precisions
    }


def plain_step(trainer: Trainer):
    """Return the same step as usually written, with torch's defaults: a kernel per operation, nothing in place."""
    model, mixing = trainer.model, trainer.mixing
    for block in model.modules():
        if isinstance(block, PyramidBlock):
            block.forward = MethodType(_padded, block)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
    batches = cycle(list(trainer.batches.inputs(0)))

    def step() -> None:
        with full_precision():
            torch.backends.cudnn.allow_tf32 = True  # until the end of the block
            images, labels = trainer.batches.prepare(*next(batches))
            images, targets = mixing(images.contiguous(), labels)
            loss = F.cross_entropy(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return step


def _padded(block: PyramidBlock, x: Tensor) -> Tensor:
    shortcut, residual = block.pool(x), block.regulariser(block.residual(x))
    return F.pad(shortcut, (0, 0, 0, 0, 0, residual.shape[1] - shortcut.shape[1])) + residual


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


def utilisation(trainer: Trainer, step, milliseconds: float) -> dict:
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


def utilisation_parts(gpu: dict) -> list[str]:
    """Return what :func:`utilisation` found as Markdown: a paragraph and a table."""
    return [
        f"A product of matrices does {gpu['tflops_per_second']:.0f} TFLOP/s, a copy {gpu['gb_per_second']:.0f} GB/s. "
        f"The operations of the fastest form, {gpu['tflop']:.3f} TFLOP and {gpu['gb']:.2f} GB, take "
        f"{gpu['floor_ms']:.2f} ms at these rates, each by itself: {100 * gpu['share_of_floor']:.1f} % of what the "
        f"step takes. The GPU is busy {100 * gpu['busy']:.1f} % of the time.",
        markdown([{"kernel": f"`{name[:90]}`", "µs/step": f"{us:.0f}"} for name, us in gpu["kernels_us"].items()]),
    ]


def to_markdown(record: dict) -> str:
    """Return a record as a table; the last column is the plain step's time over that of the line."""
    times = record["ms_per_step"]
    plain = next(taken for name, taken in times.items() if name.startswith("plain"))

    def unless_mixing(text: Callable[[float], str]) -> Callable[[str, float], str]:
        return lambda name, ms: "-" if name == "mixing alone" else text(ms)

    columns = {
        "images/s": unless_mixing(lambda ms: f"{1000 * record['batch'] / ms:.1f}"),
        "plain / this": unless_mixing(lambda ms: f"{statistics.median(plain) / ms:.2f}"),
    }
    note = (
        "Crop and flip, SmoothMix_C, forward, loss, backward, SGD, on images in memory. Medians of "
        f"{len(plain)} rounds of {record['steps']} after a warm-up; the forms take turns."
    )
    title = f"A train step of {record['model']} at batch {record['batch']}"
    gpu = utilisation_parts(record["gpu"]) if "gpu" in record else []
    return page(record, title, note, table("form", times, "ms/step", 2, columns), *gpu)
