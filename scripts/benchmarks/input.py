"""How many images a CPU makes ready a second, beside torchvision's usual pipelines: CIFAR-100, and JPEGs in folders."""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch

from datasets import class_folders
from scripts.benchmarks.timing import add_common_arguments, begin, head, in_turn, save
from smoothmix.utils.errors import UserError

CIFAR_BATCH, FOLDER_BATCH = 128, 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("--cifar", type=Path, help="folder that holds cifar-100-python/")
    parser.add_argument("--steps", type=int, default=40, help="CIFAR batches of 128 images in each round")
    parser.add_argument("--folder", type=Path, help="folder of class folders with JPEGs, each read once in a round")
    add_common_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure, write both files, print the tables."""
    from scripts.benchmarks.input_peers import cifar_peers, imagenet_peers, link_folder, stages  # torchvision is slow

    if args.device != "cpu":
        raise UserError(f"--device {args.device}: input is measured on the CPU that makes it")
    if args.cifar is None and args.folder is None:
        raise UserError("nothing to read: give --cifar DIR, --folder DIR or both")
    if args.folder is not None and not args.folder.is_dir():
        raise UserError(f"there is no folder {args.folder}")
    (_, machine), measured = begin(args, "steps"), {}
    if args.cifar is not None:
        peers = cifar_peers(args.cifar, CIFAR_BATCH, args.steps)
        measured["CIFAR-100, training"] = _rates(peers, CIFAR_BATCH * args.steps, args.repeats)
    if args.folder is not None:
        with tempfile.TemporaryDirectory() as root:
            link_folder(args.folder, Path(root))
            images = class_folders(root, workers=0).sizes["train"]
            training, evaluation = imagenet_peers(Path(root), FOLDER_BATCH)
            measured["Folder, training"] = _rates(training, images, args.repeats)
            measured["Folder, evaluation"] = _rates(evaluation, images, args.repeats)
            steps = stages(Path(root))
            measured["Stages of training on the folder"] = _rates(steps, images, args.repeats)
    record = {
        "cifar_batch": CIFAR_BATCH,
        "folder_batch": FOLDER_BATCH,
        "us_per_image": measured,
        **machine,
    }
    save(args.output, record, to_markdown(record))


def _rates(peers: dict, images: int, repeats: int) -> dict[str, list[float]]:
    """Return the microseconds an image takes, of each peer in each round."""
    times = in_turn(peers, repeats, torch.device("cpu"))
    return {name: [1e6 * seconds / images for seconds in rounds] for name, rounds in times.items()}


def to_markdown(record: dict) -> str:
    """Return a record as a table for each group; the last column is the rate over that of the group's first line."""
    lines = [
        head(record, "Input, read and made ready in the process itself"),
        f"Medians of rounds after one that was not timed; the pipelines take turns. Batches of {record['cifar_batch']} "
        f"(CIFAR) and {record['folder_batch']} images. A worker's part is uint8 crops, with the numbers of the jitter "
        "and lighting that a GPU then applies; all is with that done on the same CPU.",
    ]
    for group, rates in record["us_per_image"].items():
        compared = not group.startswith("Stages")
        first = statistics.median(next(iter(rates.values())))
        lines += ["", f"## {group}", "", "| | µs/image | min to max | images/s |" + " times the first |" * compared]
        lines.append("|---|---|---|---|" + "---|" * compared)
        for name, rounds in rates.items():
            middle = statistics.median(rounds)
            line = f"| {name} | {middle:.1f} | {min(rounds):.1f} to {max(rounds):.1f} | {1e6 / middle:.0f} |"
            lines.append(line + f" {first / middle:.2f} |" * compared)
    return "\n".join([*lines, "", f"    python {record['command']}", ""])
