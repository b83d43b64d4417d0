"""The commands that fill what is missing in a table."""

import shlex
from collections.abc import Sequence

from smoothmix.reporting.matching import Cell


def train(cells: Sequence[Cell]) -> str:
    """Return the command line that trains the `cells`, which are seeds of one row."""
    *overrides, _ = cells[0].overrides  # the last one is the seed
    seeds = ",".join(str(cell.key[-1]) for cell in cells)
    return shlex.join(["python", "train.py", *(["-m"] if len(cells) > 1 else []), *overrides, f"seed={seeds}"])


def evaluate(directory: str, benchmark: str, generate: bool) -> str:
    """Return the command line that evaluates the best weights of a run on corrupted images."""
    source = ["source=generate"] if generate else []
    return shlex.join(["python", "eval_corruption.py", f"run={directory}", f"benchmark={benchmark}", *source])
