"""The commands that fill what is missing in a table."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from smoothmix.evaluation.corrupted import CorruptedEvaluation
from smoothmix.reporting.table_cells import TableCell
from smoothmix.utils.command import override, shell_command

# what an evaluation takes over from the overrides of its training
SHARED = ("device=", "timeout=", "dataset.root=", "dataset.workers=", "dataset.verify=")


def train(cells: Sequence[TableCell]) -> str:
    """Return the command line that trains the `cells`, which are seeds of one row."""
    *overrides, _ = cells[0].overrides  # the last one is the seed
    seeds = ",".join(str(cell.key[-1]) for cell in cells)
    return shell_command(["python", "train.py", *(["-m"] if len(cells) > 1 else []), *overrides, f"seed={seeds}"])


def evaluate(directory: Path, evaluation: CorruptedEvaluation, source: str, overrides: Iterable[str] = ()) -> list[str]:
    """Return script and arguments that evaluate a run on corrupted images from `source`: files or generate.

    Of the `overrides` of its training it takes over what an evaluation takes as well.
    """
    shared = [given for given in overrides if given.startswith(SHARED)]
    return ["eval_corruption.py", override("run", str(directory)), *evaluation.overrides(source), *shared]
