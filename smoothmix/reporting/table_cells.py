"""A table's cells, one per row and seed: the records that fill them, by what was run, and the commands that do."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from smoothmix.evaluation.corrupted import CorruptedEvaluation
from smoothmix.utils.command import override, shell_command
from smoothmix.utils.records import AnyRecord, RunKey, RunRecord

# what an evaluation takes over from the overrides of its training
SHARED = ("device=", "timeout=", "dataset.root=", "dataset.workers=")


@dataclass(frozen=True, eq=False)
class TableCell:
    """One seed of one row: the `key` of its run, its overrides, the directory it would have."""

    row: str
    key: RunKey
    overrides: tuple[str, ...]
    directory: Path


def match(records: Iterable[AnyRecord], cells: Sequence[TableCell]) -> dict[RunKey, AnyRecord]:
    """Return {key: record} for the cells that have a record."""
    wanted = {cell.key for cell in cells}
    return {record.key: record for record in records if record.key in wanted}


def train_command(cells: Sequence[TableCell]) -> str:
    """Return the command line that trains the `cells`, which are seeds of one row."""
    *overrides, _ = cells[0].overrides  # the last one is the seed
    seeds = ",".join(str(cell.key.seed) for cell in cells)
    return shell_command(["python", "train.py", *(["-m"] if len(cells) > 1 else []), *overrides, f"seed={seeds}"])


def evaluation_command(
    directory: Path, evaluation: CorruptedEvaluation, source: str, overrides: Iterable[str]
) -> list[str]:
    """Return script and arguments that evaluate a run on corrupted images from `source`: files or generate.

    Of the `overrides` of its training it takes over what an evaluation takes as well.
    """
    shared = [given for given in overrides if given.startswith(SHARED)]
    return ["eval_corruption.py", override("run", str(directory)), *evaluation.overrides(source), *shared]


def ignored_records(records: Iterable[RunRecord], cells: Sequence[TableCell]) -> dict[str, int]:
    """Return {reason: how many} of the records that are of none of the cells."""
    return dict(Counter(filter(None, (_reason_ignored(record, cells) for record in records))))


def _reason_ignored(record: RunRecord, cells: Sequence[TableCell]) -> str | None:
    wanted = [cell.key for cell in cells]
    if record.key in wanted:
        return None
    for name in ("recipe", "dataset", "model", "method"):
        wanted = [key for key in wanted if getattr(key, name) == getattr(record, name)]
        if not wanted:
            return f"{name} {getattr(record, name)}"
    if record.config_hash not in {key.config_hash for key in wanted}:
        return f"recipe {record.recipe} with other settings than the table's"
    return f"seed {record.seed}"
