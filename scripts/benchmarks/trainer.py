"""What the trainer costs beside forward, backward and optimiser, and whether that grows with the data set."""

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path

from torch.nn import functional as F

from scripts.benchmarks.timing import add_common_arguments, in_turn, page, table
from scripts.benchmarks.trainers import trainer_of
from smoothmix.training.trainer import Trainer
from smoothmix.utils.command import StopSignal
from smoothmix.utils.distributed import Ranks

BARE = "forward, backward, SGD alone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 50000], help="sizes of the data set")
    add_common_arguments(parser, measure, to_markdown, ("batch",), repeats=7)


def measure(args: argparse.Namespace, ranks: Ranks) -> dict:
    """Return the record of these options."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"epochs": args.repeats + 2, "precision": "fp32", "step": "eager"}  # as the bare step
        build = partial(trainer_of, "trivial", args.batch, ranks=ranks, directory=Path(folder), **options)
        trainers = {f"trainer, {images} images": build(images) for images in args.images}
        steps = {name: len(trainer.batches) for name, trainer in trainers.items()}
        steps[BARE] = min(steps.values())
        peers = {BARE: bare(next(iter(trainers.values())), steps[BARE])}
        peers |= {name: epoch_of(trainer) for name, trainer in trainers.items()}
        times = in_turn(peers, args.repeats, ranks)
    return {
        "batch": args.batch,
        "steps": steps,
        "ms_per_step": {name: [1000 * t / steps[name] for t in taken] for name, taken in times.items()},
    }


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


def to_markdown(record: dict) -> str:
    """Return a record as a table; the last column is what a line takes more than the bare step."""
    times = record["ms_per_step"]
    alone = statistics.median(times[BARE])
    beside = {"beside the bare step, ms": lambda name, ms: "" if name == BARE else f"{ms - alone:.3f}"}
    note = (
        "The trainer adds order, crop and flip, SmoothMix_C, totals, log and signal. Medians of "
        f"{len(times[BARE])} epochs after one that was not timed, in turn."
    )
    title = f"What the trainer costs: a trivial network, batch {record['batch']}, 32x32"
    return page(record, title, note, table("", times, "ms/step", 3, beside))
