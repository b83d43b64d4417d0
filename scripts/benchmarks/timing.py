"""What the measurements share: peers timed in turn, and their record as JSON and Markdown."""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from smoothmix.utils.distributed import Ranks, init_distributed
from smoothmix.utils.environment import environment
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import write_text


def add_common_arguments(parser: argparse.ArgumentParser, repeats: int = 5) -> None:
    """Declare --threads, --repeats, --device and --output."""
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=repeats, help="timed rounds, after one that is not timed")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto (default: cpu)")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write; Markdown goes beside it")


def begin(args: argparse.Namespace, *counts: str) -> tuple[Ranks, dict[str, Any]]:
    """Set the threads; return the ranks, and what a record says of the machine before anything is measured.

    Raises:
        UserError: an option among `counts`, --threads or --repeats is below 1.
    """
    for name in (*counts, "threads", "repeats"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} must be at least 1, not {getattr(args, name)}")
    torch.set_num_threads(args.threads)
    ranks = init_distributed(args.device)
    return ranks, {"load_average_before": os.getloadavg()[0], **environment(ranks.device)}


def in_turn(peers: dict[str, Callable[[], Any]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of each call of each peer: `repeats` rounds in which every peer runs once.

    One round before them is not timed. Peers take turns, so that a machine's slow moments fall on all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(1 + repeats):
        for name, call in peers.items():
            finish(device)
            start = time.perf_counter()
            call()
            finish(device)
            seconds[name].append(time.perf_counter() - start)
    return {name: times[1:] for name, times in seconds.items()}


def finish(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(times: list[float]) -> str:
    """Return the median of `times` (seconds) and their spread as Markdown cells: "1.23 | 1.20 to 1.31"."""
    return f"{1000 * statistics.median(times):.3f} | {1000 * min(times):.3f} to {1000 * max(times):.3f}"


def save(output: Path, record: dict[str, Any], text: str) -> None:
    """Write the record as JSON to `output` and its Markdown beside it, and print the Markdown."""
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, json.dumps(record, indent=2) + "\n")
    write_text(output.with_suffix(".md"), text)
    print(text)


def head(record: dict[str, Any], what: str) -> str:
    """Return the first line of a Markdown record: what was measured, where, with which versions."""
    threads = record["threads"]
    return (
        f"{what}: {record['device']}, {threads} CPU thread{'s' * (threads > 1)}, torch {record['versions']['torch']}, "
        f"load average before {record['load_average_before']:.1f}."
    )
