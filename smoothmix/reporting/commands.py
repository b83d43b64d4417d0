"""The commands that fill what is missing in a table."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from smoothmix.reporting.matching import Cell
from smoothmix.utils.quoting import override, shell_command

# what an evaluation takes over from the overrides of its training
SHARED = ("device=", "timeout=", "dataset.root=", "dataset.workers=", "dataset.verify=")


def shared_overrides(overrides: Iterable[str]) -> list[str]:
    """Return those `overrides` of a training that its evaluation takes as well."""
    return [word for word in overrides if word.startswith(SHARED)]


def train(cells: Sequence[Cell]) -> str:
    """Return the command line that trains the `cells`, which are seeds of one row."""
    *overrides, _ = cells[0].overrides  # the last one is the seed
    seeds = ",".join(str(cell.key[-1]) for cell in cells)
    return shell_command(["python", "train.py", *(["-m"] if len(cells) > 1 else []), *overrides, f"seed={seeds}"])


def evaluate(directory: str, benchmark: str, generate: bool, overrides: Iterable[str] = ()) -> str:
    """Return the command line that evaluates the best weights of a run on corrupted images."""
    source = "generate" if generate else "files"
    return shell_command(["python", *evaluation(Path(directory), benchmark, source, overrides)])


def evaluation(directory: Path, benchmark: str, source: str, overrides: Iterable[str] = ()) -> list[str]:
    """Return script and arguments of that command; `source` of the images is files or generate."""
    images = ["source=generate"] if source == "generate" else []
    return ["eval_corruption.py", override("run", str(directory)), f"benchmark={benchmark}", *images, *overrides]
