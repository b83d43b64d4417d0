"""What the measurements share: their options, peers timed in turn, and a record as JSON and as a page of Markdown."""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from smoothmix.utils.distributed import Ranks, destroy_process_group, init_distributed
from smoothmix.utils.environment import environment
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import write_text


def add_common_arguments(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace, Ranks], dict[str, Any]],
    to_markdown: Callable[[dict[str, Any]], str],
    counts: tuple[str, ...] = (),
    repeats: int = 5,
) -> None:
    """Declare --threads, --repeats, --device and --output, and what :func:`run` does with them.

    `measure` returns the record of the options, but for what it says of the machine, `to_markdown` the page of a
    record; `counts` are options of the measurement's own that must be at least 1.
    """
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=repeats, help="timed rounds, after one that is not timed")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto (default: cpu)")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write; Markdown goes beside it")
    parser.set_defaults(run=run, measure=measure, to_markdown=to_markdown, counts=(*counts, "threads", "repeats"))


def run(args: argparse.Namespace) -> None:
    """Measure, on every rank at once; rank 0 writes both files and prints the page.

    Raises:
        UserError: a count is below 1.
    """
    for name in args.counts:
        if (count := getattr(args, name)) is not None and count < 1:
            raise UserError(f"--{name} must be at least 1, not {count}")
    torch.set_num_threads(args.threads)
    ranks = init_distributed(args.device)
    facts = machine(ranks.device)
    record = args.measure(args, ranks) | facts
    if ranks.is_main:
        save(args.output, record, args.to_markdown)
    destroy_process_group()


def machine(device: torch.device) -> dict[str, Any]:
    """Return what a record says of the machine, to be called before anything is measured."""
    return {"load_average_before": os.getloadavg()[0], **environment(device)}


def in_turn(
    peers: dict[str, Callable[[], Any]],
    repeats: int,
    ranks: Ranks,
    calls: int = 1,
    warm_up: int = 1,
    scale: float = 1,
) -> dict[str, list[float]]:
    """Return the seconds per call of each peer, times `scale`: `repeats` rounds of `calls` calls in a row.

    Before them each peer has `warm_up` calls that are not timed. Peers take turns, so that a machine's slow moments
    fall on all of them.
    """
    for call in peers.values():
        for _ in range(warm_up):
            call()
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(repeats):
        for name, call in peers.items():
            ranks.synchronize()
            start = time.perf_counter()
            for _ in range(calls):
                call()
            ranks.synchronize()
            seconds[name].append(scale * (time.perf_counter() - start) / calls)
    return seconds


def save(output: Path, record: dict[str, Any], to_markdown: Callable[[dict[str, Any]], str]) -> None:
    """Write a record as JSON to `output`, then its page as Markdown beside it; print the page."""
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, json.dumps(record, indent=2) + "\n")
    page = to_markdown(record)
    write_text(output.with_suffix(".md"), page)
    print(page)


def page(record: dict[str, Any], title: str, *parts: str, launcher: str = "python") -> str:
    """Return a record as Markdown: what was measured, where, with which versions; paragraphs, tables; the command."""
    threads = record["threads"]
    head = (
        f"{title}: {record['device']}, {threads} CPU thread{'s' * (threads > 1)}, torch {record['versions']['torch']}, "
        f"load average before {record['load_average_before']:.1f}."
    )
    return "\n\n".join([head, *parts, f"    {launcher} {record['command']}\n"])


def table(
    first: str, times: dict[str, list[float]], unit: str, digits: int, columns: dict[str, Callable[[str, float], str]]
) -> str:
    """Return `times` in `unit` as a Markdown table: a line for each name, with the median and the range.

    `first` is the heading of the names; the functions of `columns` give further cells for a name and its median.
    """
    rows = []
    for name, taken in times.items():
        median = statistics.median(taken)
        spread = f"{min(taken):.{digits}f} to {max(taken):.{digits}f}" if len(taken) > 1 else ""
        more = {heading: cell(name, median) for heading, cell in columns.items()}
        rows.append({first: name, unit: f"{median:.{digits}f}", "min to max": spread, **more})
    return markdown(rows)


def markdown(rows: list, columns: list[str] | None = None) -> str:
    """Return the rows of a table, dicts or lists, as Markdown."""
    import pandas as pd  # here, because --help does without

    from smoothmix.reporting import markup

    return markup.markdown(pd.DataFrame(rows, columns=columns))
