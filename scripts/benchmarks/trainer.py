"""What the trainer costs beside forward, backward and optimiser, and what grows: with the data set, with the epochs."""

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path

from torch.nn import functional as F

from scripts.benchmarks.timing import (
    add_common_arguments,
    begin,
    head,
    in_turn,
    milliseconds,
    save,
)
from scripts.benchmarks.trainers import trainer_of
from smoothmix.training.trainer import Trainer
from smoothmix.utils.command import StopSignal
from smoothmix.utils.distributed import Ranks

BARE = "forward, backward, SGD alone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 50000], help="sizes of the data set")
    parser.add_argument("--epochs", type=int, default=40, help="epochs over which memory is watched; 0: not at all")
    add_common_arguments(parser, repeats=7)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure, write both files, print the table."""
    ranks, machine = begin(args, "batch")
    with tempfile.TemporaryDirectory() as folder:
        options = {"epochs": args.repeats + 2, "precision": "fp32", "step": "eager"}  # as the bare step
        build = partial(trainer_of, "trivial", args.batch, ranks=ranks, directory=Path(folder), **options)
        trainers = {f"trainer, {images} images": build(images) for images in args.images}
        steps = {name: len(trainer.batches) for name, trainer in trainers.items()}
        steps[BARE] = min(steps.values())
        peers = {BARE: bare(next(iter(trainers.values())), steps[BARE])}
        peers |= {name: epoch_of(trainer) for name, trainer in trainers.items()}
        times = in_turn(peers, args.repeats, ranks.device)
        memory = memory_over_epochs(ranks, Path(folder) / "long", args.batch, args.epochs) if args.epochs else []
    record = {
        "batch": args.batch,
        "steps": steps,
        "ms_per_step": {name: [1000 * t / steps[name] for t in taken] for name, taken in times.items()},
        "mib_after_each_epoch": memory,
        **machine,
    }
    save(args.output, record, to_markdown(record))


def bare(trainer: Trainer, steps: int):
    """Return a function that does so many steps of the trainer's network and optimiser on one ready batch."""
    model, optimizer = trainer.model, trainer.state.optimizer
    images, targets = trainer.mixing(*trainer.batches.prepare(*next(trainer.batches.inputs(0))))
    images = images.contiguous(memory_format=trainer.memory_format)

    def several() -> None:
        for _ in range(steps):
            loss = F.cross_entropy(model(images), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return several


def epoch_of(trainer: Trainer):
    """Return a function that trains the next epoch, its order and draws included, without the evaluation."""
    trainer.log.begin([], 0, in_epoch=False)

    def epoch() -> None:
        trainer.state.epoch, trainer.state.step = trainer.state.epoch + 1, 0
        with StopSignal(trainer.ranks) as stop:
            trainer.train_epoch(stop)

    return epoch


def memory_over_epochs(ranks: Ranks, directory: Path, batch: int, epochs: int) -> list[float]:
    """Return the MiB that the process holds after each epoch of a whole run of small epochs, checkpoints included."""
    directory.mkdir()
    trainer = trainer_of("pyramidnet20", batch, 10 * batch, ranks, directory, epochs=epochs)
    held = []
    finish_epoch = trainer.finish_epoch

    def finish_and_look(stop: StopSignal) -> None:
        finish_epoch(stop)
        held.append(resident())

    trainer.finish_epoch = finish_and_look
    trainer.fit()
    return held


def resident() -> float:
    """Return the MiB of memory that this process holds (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * 4096 / 2**20


def to_markdown(record: dict) -> str:
    """Return a record as a table; the last column is what a line takes more than the bare step."""
    times = record["ms_per_step"]
    alone = statistics.median(times[BARE])
    lines = [
        head(record, f"What the trainer costs: a trivial network, batch {record['batch']}, 32x32"),
        "Order, crop and flip, SmoothMix_C, totals, log and signal are what is more. Medians of "
        f"{len(times[BARE])} epochs after one that was not timed, in turn.",
        "",
        "| | ms/step | min to max | beside the bare step, ms |",
        "|---|---|---|---|",
    ]
    for name, taken in times.items():
        beside = "" if name == BARE else f"{statistics.median(taken) - alone:.3f}"
        lines.append(f"| {name} | {milliseconds([t / 1000 for t in taken])} | {beside} |")
    if held := record["mib_after_each_epoch"]:
        half = len(held) // 2
        lines += [
            "",
            f"Memory of the process over {len(held)} epochs of ten steps, each with its checkpoint: "
            f"{held[half - 1]:.1f} MiB after epoch {half}, {held[-1]:.1f} MiB after the last.",
        ]
    return "\n".join([*lines, "", f"    python {record['command']}", ""])
