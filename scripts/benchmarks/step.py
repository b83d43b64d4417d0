"""How fast a train step is, beside a plain one: torch's defaults, NCHW, launched kernel by kernel."""

import argparse
import statistics
import tempfile
from itertools import cycle
from pathlib import Path
from types import MethodType

import torch
from torch.nn import functional as F

from models.pyramidnet import PyramidBlock
from scripts.benchmarks import step_gpu
from scripts.benchmarks.timing import add_common_arguments, begin, head, in_turn, save
from scripts.benchmarks.trainers import MODELS, trainer_of
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
    add_common_arguments(parser, repeats=7)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure, write both files, print the table."""
    ranks, machine = begin(args, "batch", "steps")
    device = ranks.device
    record = {"model": args.model, "batch": args.batch, "steps": args.steps}
    with tempfile.TemporaryDirectory() as folder, numerics(False), full_precision():
        forms = forms_on(device)
        trainers = {
            name: trainer_of(args.model, args.batch, 4 * args.batch, ranks, Path(folder), **settings)
            for name, settings in forms.items()
        }
        plain = trainer_of(args.model, args.batch, 4 * args.batch, ranks, Path(folder), precision="fp32", step="eager")
        peers = {PLAIN[device.type]: plain_step(plain)}
        peers |= {name: our_step(trainer) for name, trainer in trainers.items()}
        for step in peers.values():  # choose kernels, warm up, capture
            for _ in range(WARM_UP + 1):
                step()
        fastest = trainers[list(forms)[-1]]
        peers = {name: repeated(step, args.steps) for name, step in peers.items()}
        peers |= {"mixing alone": repeated(mixing_alone(fastest), args.steps)}
        times = in_turn(peers, args.repeats, device)
        record["ms_per_step"] = {name: [1000 * t / args.steps for t in taken] for name, taken in times.items()}
        if device.type == "cuda":
            seconds = statistics.median(record["ms_per_step"][list(forms)[-1]]) / 1000
            record["gpu"] = step_gpu.measure(fastest, our_step(fastest), seconds)
    record |= machine
    save(args.output, record, to_markdown(record))


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


def our_step(trainer: Trainer):
    """Return a function that does the trainer's next step, crops and flips included; the epoch begins again."""
    batches = cycle(list(trainer.batches.inputs(0)))

    def step() -> None:
        with full_precision(trainer.execution.precision == "tf32"):
            trainer.launch(trainer.train_step, None, *next(batches))

    return step


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


def mixing_alone(trainer: Trainer):
    """Return a function that mixes one batch."""
    images, labels = trainer.batches.prepare(*next(trainer.batches.inputs(0)))
    return lambda: trainer.mixing(images, labels)


def repeated(step, times: int):
    """Return a function that calls `step` so often."""

    def several() -> None:
        for _ in range(times):
            step()

    return several


def to_markdown(record: dict) -> str:
    """Return a record as a table; the last column is the plain step's time over that of the line."""
    times = record["ms_per_step"]
    median = {name: statistics.median(taken) for name, taken in times.items()}
    plain = next(name for name in times if name.startswith("plain"))
    lines = [
        head(record, f"A train step of {record['model']} at batch {record['batch']}"),
        "Crop and flip, SmoothMix_C, forward, loss, backward, SGD, on images in memory. Medians of "
        f"{len(times[plain])} rounds of {record['steps']} after one that was not timed; the forms take turns.",
        "",
        "| form | ms/step | min to max | images/s | plain / this |",
        "|---|---|---|---|---|",
    ]
    for name, taken in times.items():
        line = f"| {name} | {median[name]:.2f} | {min(taken):.2f} to {max(taken):.2f} |"
        rate = f" {1000 * record['batch'] / median[name]:.1f} | {median[plain] / median[name]:.2f} |"
        lines.append(line + (" - | - |" if name == "mixing alone" else rate))
    if "gpu" in record:
        lines += ["", *step_gpu.lines(record["gpu"])]
    return "\n".join([*lines, "", f"    python {record['command']}", ""])
