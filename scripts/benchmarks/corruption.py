"""How fast images are corrupted, beside the original code of the benchmarks' authors."""

import argparse
import csv
import statistics
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F

from scripts.benchmarks.timing import add_common_arguments, begin, head, in_turn, save
from smoothmix.corruptions import CORRUPTIONS, SEVERITIES, SIDES, corrupt

ORIGINAL = Path(__file__).resolve().parents[2] / "results" / "benchmarks" / "original_corruption_speed.csv"
BATCH = {"cifar": 256, "imagenet": 8}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("--benchmark", choices=SIDES, default="cifar", help="whose constants and image size")
    parser.add_argument("--corruptions", nargs="+", choices=CORRUPTIONS, default=list(CORRUPTIONS), metavar="NAME")
    parser.add_argument("--batch", type=int, help="images at a time (default: 256 of cifar, 8 of imagenet)")
    parser.add_argument("--severity", type=int, choices=SEVERITIES, default=3)
    add_common_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure, write both files, print the table."""
    args.batch = BATCH[args.benchmark] if args.batch is None else args.batch
    ranks, machine = begin(args, "batch")
    images = smooth_images(args.batch, SIDES[args.benchmark]).to(ranks.device)
    measured, missing = {}, {}
    for name in args.corruptions:
        try:
            measured[name] = [1000 * seconds / args.batch for seconds in _time(images, name, args)]
        except ImportError as error:
            missing[name] = str(error)
    record = {
        "benchmark": args.benchmark,
        "severity": args.severity,
        "batch": args.batch,
        "images": "random 8x8 colours, upsampled bilinearly (seed 0); without saving as JPEG",
        "ms_per_image": measured,
        "not_measured": missing,
        "original_ms_per_image": _original(args.benchmark) if args.severity == 3 else {},
        **machine,
    }
    save(args.output, record, to_markdown(record))


def smooth_images(count: int, side: int) -> torch.Tensor:
    """Return uint8 (count, 3, side, side): as smooth as photographs, always the same."""
    small = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return (255 * F.interpolate(small, size=side, mode="bilinear")).to(torch.uint8)


def to_markdown(record: dict) -> str:
    """Return a record as a table: a line for each corruption, the last for the sum of their times."""
    lines = [
        head(
            record,
            f"Corrupting {record['benchmark']} images at severity {record['severity']}, {record['batch']} at a time",
        ),
        f"Images: {record['images']}. Medians of {len(next(iter(record['ms_per_image'].values()), []))} batches after "
        "one that was not timed. The original code's times are of another machine (the head of "
        "`original_corruption_speed.csv`).",
        "",
        "| corruption | ms/image | min to max | images/s | original ms/image | original / ours |",
        "|---|---|---|---|---|---|",
    ]
    ours = {name: statistics.median(times) for name, times in record["ms_per_image"].items()}
    original = record["original_ms_per_image"]
    for name, times in record["ms_per_image"].items():
        lines.append(_line(name, ours[name], f"{min(times):.4f} to {max(times):.4f}", original.get(name)))
    total = sum(original[name] for name in ours) if original else None
    lines.append(_line(f"sum of these {len(ours)}", sum(ours.values()), "", total))
    lines += [f"\nNot measured: {name}: {reason}" for name, reason in record["not_measured"].items()]
    return "\n".join([*lines, "", f"    python {record['command']}", ""])


def _line(name: str, ms: float, spread: str, original: float | None) -> str:
    beside = "- | -" if original is None else f"{original:.4f} | {original / ms:.2f}"
    return f"| {name} | {ms:.4f} | {spread} | {1000 / ms:.0f} | {beside} |"


def _time(images: torch.Tensor, name: str, args: argparse.Namespace) -> list[float]:
    """Return the seconds of each repeat."""
    generator = torch.Generator(images.device).manual_seed(0)
    call = partial(corrupt, images, name, args.severity, args.benchmark, generator, save_as_jpeg=False)
    return in_turn({name: call}, args.repeats, images.device)[name]


def _original(benchmark: str) -> dict[str, float]:
    with open(ORIGINAL, encoding="utf-8") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {row["corruption"]: float(row["ms_per_image"]) for row in rows if row["benchmark"] == benchmark}
