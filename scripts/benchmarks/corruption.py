"""How fast images are corrupted, beside the original code of the benchmarks' authors."""

import argparse
import statistics
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F

from scripts.benchmarks.timing import add_common_arguments, in_turn, page, table
from smoothmix.corruptions import CORRUPTIONS, SIDES, corrupt
from smoothmix.utils.distributed import Ranks

ORIGINAL = Path(__file__).resolve().parents[2] / "results" / "benchmarks" / "original_corruption_speed.csv"
SEVERITY = 3  # of the original code's times
BATCH = {"cifar": 256, "imagenet": 8}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("--benchmark", choices=SIDES, default="cifar", help="whose constants and image size")
    parser.add_argument("--corruptions", nargs="+", choices=CORRUPTIONS, default=list(CORRUPTIONS), metavar="NAME")
    parser.add_argument("--batch", type=int, help="images at a time (default: 256 of cifar, 8 of imagenet)")
    add_common_arguments(parser, measure, to_markdown, ("batch",))


def measure(args: argparse.Namespace, ranks: Ranks) -> dict:
    """Return the record of these options."""
    import pandas as pd  # here, because --help does without

    batch = args.batch or BATCH[args.benchmark]
    images = smooth_images(batch, SIDES[args.benchmark]).to(ranks.device)
    measured, missing = {}, {}
    for name in args.corruptions:
        generator = torch.Generator(images.device).manual_seed(0)
        call = partial(corrupt, images, name, SEVERITY, args.benchmark, generator, save_as_jpeg=False)
        try:
            measured |= in_turn({name: call}, args.repeats, ranks, scale=1000 / batch)
        except ImportError as error:
            missing[name] = str(error)
    originals = pd.read_csv(ORIGINAL, comment="#", index_col=["benchmark", "corruption"]).ms_per_image
    return {
        "benchmark": args.benchmark,
        "severity": SEVERITY,
        "batch": batch,
        "images": "random 8x8 colours, upsampled bilinearly (seed 0); without saving as JPEG",
        "ms_per_image": measured,
        "not_measured": missing,
        "original_ms_per_image": originals[args.benchmark].to_dict(),
    }


def smooth_images(count: int, side: int) -> torch.Tensor:
    """Return uint8 (count, 3, side, side): as smooth as photographs, always the same."""
    small = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return (255 * F.interpolate(small, size=side, mode="bilinear")).to(torch.uint8)


def to_markdown(record: dict) -> str:
    """Return a record as a table: a line for each corruption, the last for the sum of their times."""
    times, original = dict(record["ms_per_image"]), dict(record["original_ms_per_image"])
    repeats, together = len(next(iter(times.values()), [])), f"sum of these {len(times)}"
    if original:
        original[together] = sum(original[name] for name in times)
    times[together] = [sum(map(statistics.median, times.values()))]
    columns = {
        "images/s": lambda name, ms: f"{1000 / ms:.0f}",
        "original ms/image": lambda name, ms: f"{original[name]:.4f}" if original else "-",
        "original / ours": lambda name, ms: f"{original[name] / ms:.2f}" if original else "-",
    }
    title = f"Corrupting {record['benchmark']} images at severity {record['severity']}, {record['batch']} at a time"
    note = (
        f"Images: {record['images']}. Medians of {repeats} batches after one that was not timed. The original code's "
        "times are of another machine (the head of `original_corruption_speed.csv`)."
    )
    missing = [f"Not measured: {name}: {reason}" for name, reason in record["not_measured"].items()]
    return page(record, title, note, table("corruption", times, "ms/image", 4, columns), *missing)
