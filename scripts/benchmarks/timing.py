"""A call of ours and its peer's timed in turn, the records of such pairs, and the one table that is made from them."""

import argparse
import json
import os
import re
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from smoothmix.utils.distributed import Ranks, destroy_process_group, init_distributed
from smoothmix.utils.environment import ROOT, device_name, environment
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import write_text

RECORDS, PAGE = ROOT / "results" / "benchmarks", ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- python scripts/benchmark.py page -->\n", "<!-- end -->\n"


class Pair(NamedTuple):
    """Two calls that do the same task: ours, and a peer's."""

    what: str
    peer: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of every measurement."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto (default: cpu)")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (default: 1)")
    parser.add_argument("--repeats", type=int, default=9, help="timed rounds (default: 9)")
    parser.add_argument("--output", type=Path, help="JSON file to add to (default: results/benchmarks/DEVICE.json)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Add every group of `args.measure` to the record of the device as soon as it is measured, and print its table.

    Raises:
        UserError: a count is below 1.
    """
    for name in ("threads", "repeats", "batch"):
        if getattr(args, name, 1) < 1:
            raise UserError(f"--{name} must be at least 1, not {getattr(args, name)}")
    torch.set_num_threads(args.threads)
    ranks = init_distributed(args.device)
    device = kind(ranks.device)
    path = args.output or RECORDS / f"{re.sub('[^a-z0-9]+', '-', device.lower())}.json"
    facts = {**environment(ranks.device), "device": device, "load_average_before": os.getloadavg()[0]}
    for group, rows in args.measure(args, ranks):
        if ranks.is_main:
            record = facts | {"rows": rows}
            save(path, group, record)
            print(f"{group}, in {path}\n\n{table([record])}", flush=True)
    destroy_process_group()


def kind(device: torch.device) -> str:
    """Return the name of the device; of a CPU also whether it has AVX-512, on which the ratios depend."""
    name, flags = re.sub(r"\((R|TM)\)", "", device_name(device)), Path("/proc/cpuinfo")
    avx512 = device.type == "cpu" and flags.exists() and "avx512f" in flags.read_text(encoding="utf-8")
    return f"{name}, AVX-512" if avx512 else name


def compare(pair: Pair, ranks: Ranks, repeats: int, round_seconds: float = 0.02, warm_up: int = 1) -> dict[str, Any]:
    """Return a row of a record: seconds per call of both, for `repeats` rounds in which they take turns.

    Before them each has `warm_up` calls, and one more that tells how many calls make a round of `round_seconds`.
    """

    def seconds_of(call: Callable[[], Any], count: int) -> float:
        ranks.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            call()
        ranks.synchronize()
        return (time.perf_counter() - start) / count

    calls = {"ours": pair.ours, "theirs": pair.theirs}
    counts, seconds = {}, {side: [] for side in calls}
    for side, call in calls.items():
        for _ in range(warm_up):
            call()
        counts[side] = max(ranks.gather(max(1, round(round_seconds / seconds_of(call, 1)))))
    for _ in range(repeats):
        for side, call in calls.items():
            seconds[side].append(float(f"{seconds_of(call, counts[side]):.4g}"))
    threads = torch.get_num_threads()
    return {"what": pair.what + f", {threads} threads" * (threads > 1), "peer": pair.peer, **seconds}


def save(path: Path, group: str, record: dict[str, Any]) -> None:
    """Put the record of `group` into the file, in the place of an older one."""
    records = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    text = json.dumps(records | {group: record}, indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, re.sub(r"\[[^][{}]*\]", lambda numbers: " ".join(numbers[0].split()), text) + "\n")


def table(records: Iterable[dict[str, Any]]) -> str:
    """Return the medians' ratio, ours / theirs, of every row on every device: a Markdown table, the slowest first."""
    ratios: dict[tuple[str, str], dict[str, float]] = {}
    for record in records:
        for row in record["rows"]:
            ratio = statistics.median(row["ours"]) / statistics.median(row["theirs"])
            ratios.setdefault((row["what"], row["peer"]), {})[record["device"]] = ratio
    devices = sorted({device for found in ratios.values() for device in found})
    lines = [["ours", "theirs", *devices], ["---"] * 2 + ["---:"] * len(devices)]
    for names, found in sorted(ratios.items(), key=lambda item: -max(item[1].values())):
        lines.append([*names, *(f"{found[device]:.2f}" if device in found else "" for device in devices)])
    return "".join(f"|{'|'.join(cells)}|\n" for cells in lines)


def write_page(page: Path = PAGE, folder: Path = RECORDS) -> None:
    """Write the table of all records in `folder` between the two marks of `page`."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    begin, end = (part for part in page.read_text(encoding="utf-8").split(END))
    records = (record for file in files for record in file.values())
    write_text(page, f"{begin.partition(BEGIN)[0]}{BEGIN}\n{table(records)}\n{END}{end}")
