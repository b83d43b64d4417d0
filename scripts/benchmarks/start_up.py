"""How long commands take to answer --help, and `import smoothmix`, beyond importing torch."""

import argparse
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

from scripts.benchmarks.timing import add_common_arguments, in_turn, page, table
from smoothmix.utils.distributed import Ranks

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
    add_common_arguments(parser, measure, to_markdown, repeats=7)


def measure(args: argparse.Namespace, ranks: Ranks) -> dict:
    """Return the record of these options."""
    peers = {
        name: partial(subprocess.run, [sys.executable, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        for name, words in COMMANDS.items()
    }
    return {"seconds": in_turn(peers, args.repeats, ranks)}


def to_markdown(record: dict) -> str:
    """Return a record as a table; what lies beyond importing torch is the median of each round's difference."""
    seconds = {f"`{name}`": taken for name, taken in record["seconds"].items()}
    alone = record["seconds"][TORCH]

    def beyond(name: str, _: float) -> str:
        differences = [1000 * (each - torch) for each, torch in zip(seconds[name], alone, strict=True)]
        return f"{statistics.median(differences):.0f}" if any(differences) else ""

    note = f"Medians of {len(alone)} rounds in which all take turns, after one that was not timed."
    columns = {"ms beyond importing torch": beyond}
    return page(record, "Wall time of fresh processes", note, table("", seconds, "s", 2, columns))
