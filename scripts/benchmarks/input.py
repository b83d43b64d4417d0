"""How many images a CPU makes ready a second, beside torchvision's usual pipelines: CIFAR-100, and JPEGs in folders."""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from datasets import class_folders
from scripts.benchmarks import timing
from scripts.benchmarks.timing import add_common_arguments, in_turn, page, table
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError

CIFAR_BATCH, FOLDER_BATCH = 128, 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("--cifar", type=Path, help="folder that holds cifar-100-python/")
    parser.add_argument("--steps", type=int, default=40, help="CIFAR batches of 128 images in each round")
    parser.add_argument("--folder", type=Path, help="folder of class folders with JPEGs, each read once in a round")
    add_common_arguments(parser, measure, to_markdown, ("steps",))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Check the options of this measurement, then measure."""
    if args.device != "cpu":
        raise UserError(f"--device {args.device}: input is measured on the CPU that makes it")
    if args.cifar is None and args.folder is None:
        raise UserError("nothing to read: give --cifar DIR, --folder DIR or both")
    if args.folder is not None and not args.folder.is_dir():
        raise UserError(f"there is no folder {args.folder}")
    timing.run(args)


def measure(args: argparse.Namespace, ranks: Ranks) -> dict:
    """Return the record of these options."""
    from scripts.benchmarks.input_peers import cifar_peers, imagenet_peers, link_folder, stages  # torchvision is slow

    measured = {}

    def add(group: str, peers: dict[str, Callable[[], None]], images: int) -> None:
        measured[group] = in_turn(peers, args.repeats, ranks, scale=1e6 / images)

    if args.cifar is not None:
        add("CIFAR-100, training", cifar_peers(args.cifar, CIFAR_BATCH, args.steps), CIFAR_BATCH * args.steps)
    if args.folder is not None:
        with tempfile.TemporaryDirectory() as root:
            link_folder(args.folder, Path(root))
            images = class_folders(root, workers=0).sizes["train"]
            training, evaluation = imagenet_peers(Path(root), FOLDER_BATCH)
            add("Folder, training", training, images)
            add("Folder, evaluation", evaluation, images)
            add("Stages of training on the folder", stages(Path(root)), images)
    return {"cifar_batch": CIFAR_BATCH, "folder_batch": FOLDER_BATCH, "us_per_image": measured}


def to_markdown(record: dict) -> str:
    """Return a record as a table for each group; the last column is the rate over that of the group's first line."""
    parts = [
        f"Medians of rounds after one that was not timed; the pipelines take turns. Batches of {record['cifar_batch']} "
        f"(CIFAR) and {record['folder_batch']} images. A worker's part is uint8 crops, with the numbers of the jitter "
        "and lighting that a GPU then applies; all is with that done on the same CPU."
    ]
    for group, times in record["us_per_image"].items():
        columns = {"images/s": lambda _, us: f"{1e6 / us:.0f}"}
        if not group.startswith("Stages"):
            first = statistics.median(next(iter(times.values())))
            columns["times the first"] = lambda _, us, first=first: f"{first / us:.2f}"
        parts += [f"## {group}", table("", times, "µs/image", 1, columns)]
    return page(record, "Input, read and made ready in the process itself", *parts)
