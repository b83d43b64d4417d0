"""How long a batch takes to mix, beside torchvision's and timm's ways of doing it."""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from scripts.benchmarks.timing import add_common_arguments, in_turn, page, table
from smoothmix import CutMix, Cutout, Mixup, SmoothMixC, SmoothMixS
from smoothmix.utils.distributed import Ranks

OURS = (SmoothMixC, SmoothMixS, CutMix, Mixup, Cutout)
SHAPES = ("64x3x224x224", "128x3x32x32")
REFERENCE = "torchvision v2.CutMix"
CLASSES = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    shapes = [_shape(text) for text in SHAPES]
    parser.add_argument("--shapes", nargs="+", type=_shape, default=shapes, metavar="NxCxHxW")
    add_common_arguments(parser, measure, to_markdown, repeats=25)


def measure(args: argparse.Namespace, ranks: Ranks) -> dict:
    """Return the record of these options."""
    return {
        "seconds": {
            "x".join(map(str, shape)): in_turn(peers(shape, ranks.device), args.repeats, ranks) for shape in args.shapes
        }
    }


def peers(shape: tuple[int, ...], device: torch.device) -> dict[str, Callable[[], Any]]:
    """Return what is timed, by name: a call that mixes float32 images of `shape` and their labels every time."""
    from timm.data import Mixup as TimmMixup
    from torchvision.transforms import v2

    images = torch.randn(shape, device=device)
    labels = torch.arange(len(images), device=device) % CLASSES
    # timm's writes into its input, so it has one of its own; it pairs images by turning the batch around.
    own = images.clone()
    timm_mixup = TimmMixup(mixup_alpha=1.0, cutmix_alpha=0.0, num_classes=CLASSES)
    timm_cutmix = TimmMixup(mixup_alpha=0.0, cutmix_alpha=1.0, num_classes=CLASSES)
    return {
        REFERENCE: partial(v2.CutMix(num_classes=CLASSES), images, labels),
        "torchvision v2.MixUp": partial(v2.MixUp(num_classes=CLASSES), images, labels),
        "timm Mixup, as CutMix, in place": partial(timm_cutmix, own, labels),
        "timm Mixup, in place": partial(timm_mixup, own, labels),
        **{method.__name__: partial(method(num_classes=CLASSES, p=1.0), images, labels) for method in OURS},
    }


def to_markdown(record: dict) -> str:
    """Return a record as a table for each shape."""
    parts = []
    for shape, seconds in record["seconds"].items():
        times = {name: [1000 * t for t in taken] for name, taken in seconds.items()}
        reference = statistics.median(times[REFERENCE])
        parts += [
            f"{shape}: medians of {len(seconds[REFERENCE])} rounds in which all take turns. Ours mix every batch "
            "(p = 1) and permute it at random; theirs shift or turn it around.",
            table("", times, "ms", 3, {f"of {REFERENCE}": lambda _, ms, whole=reference: f"{ms / whole:.2f}"}),
        ]
    return page(record, "Mixing a batch of float32 images and its labels", *parts)


def _shape(text: str) -> tuple[int, ...]:
    shape = tuple(int(side) if side.isdecimal() else 0 for side in text.split("x"))
    if len(shape) != 4 or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no shape: give four whole numbers, as in {SHAPES[0]}")
    return shape
