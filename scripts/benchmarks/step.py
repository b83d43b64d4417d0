"""How fast a train step is, beside a plain one: torch's defaults, NCHW, launched kernel by kernel."""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from types import MethodType

import torch
from torch.nn import functional as F

from models.pyramidnet import PyramidBlock
from scripts.benchmarks import step_gpu
from scripts.benchmarks.timing import add_common_arguments, in_turn, page, table
from scripts.benchmarks.trainers import MODELS, step_of, trainer_of
from smoothmix.training.cuda_graph import WARM_UP
from smoothmix.training.recipe import AMPERE, Settings
from smoothmix.training.trainer import DTYPES, Trainer, numerics
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.numerics import full_precision

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
            gpu["gpu"] = step_gpu.measure(fastest, peers[last], statistics.median(times[last]))
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


def _padded(block: PyramidBlock, x: torch.Tensor) -> torch.Tensor:
    shortcut, residual = block.pool(x), block.regulariser(block.residual(x))
    return F.pad(shortcut, (0, 0, 0, 0, 0, residual.shape[1] - shortcut.shape[1])) + residual


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
        f"{len(plain)} rounds of {record['steps']} after one that was not timed; the forms take turns."
    )
    title = f"A train step of {record['model']} at batch {record['batch']}"
    gpu = step_gpu.parts(record["gpu"]) if "gpu" in record else []
    return page(record, title, note, table("form", times, "ms/step", 2, columns), *gpu)
