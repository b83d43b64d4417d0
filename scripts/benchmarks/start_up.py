"""How long commands take to answer --help, and `import smoothmix`, beyond importing torch."""

import argparse
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

from scripts.benchmarks.timing import add_common_arguments, begin, head, in_turn, save

ROOT = Path(__file__).resolve().parents[2]
TORCH = 'python -c "import torch"'
COMMANDS = {
    TORCH: ["-c", "import torch"],
    'python -c "import smoothmix"': ["-c", "import smoothmix"],
    **{
        f"python {script} --help": [script, "--help"]
        for script in ("train.py", "eval.py", "eval_corruption.py", "scripts/make_tables.py", "scripts/reproduce.py")
    },
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    add_common_arguments(parser, repeats=7)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure, write both files, print the table."""
    ranks, machine = begin(args)
    peers = {
        name: partial(subprocess.run, [sys.executable, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        for name, words in COMMANDS.items()
    }
    record = {"seconds": in_turn(peers, args.repeats, ranks.device), **machine}
    save(args.output, record, to_markdown(record))


def to_markdown(record: dict) -> str:
    """Return a record as a table; what lies beyond importing torch is the median of each round's difference."""
    seconds = record["seconds"]
    lines = [
        head(record, "Wall time of fresh processes"),
        f"Medians of {len(seconds[TORCH])} rounds in which all take turns, after one that was not timed.",
        "",
        "| | s | min to max | ms beyond importing torch |",
        "|---|---|---|---|",
    ]
    for name, times in seconds.items():
        beyond = [1000 * (time - torch_alone) for time, torch_alone in zip(times, seconds[TORCH], strict=True)]
        shown = "" if name == TORCH else f"{statistics.median(beyond):.0f}"
        lines.append(f"| `{name}` | {statistics.median(times):.2f} | {min(times):.2f} to {max(times):.2f} | {shown} |")
    return "\n".join([*lines, "", f"    python {record['command']}", ""])
