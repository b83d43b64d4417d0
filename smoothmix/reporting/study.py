"""The runs of a table as three frames, which are all that its claims, figures and page are made from.

- runs: a line for each run: row, seed, the endpoints of :data:`~smoothmix.reporting.claims.ENDPOINTS` (NaN where they
  were not measured), and what it was made with.
- corruptions: a line for each run and corruption: row, seed, corruption, and the top-1 error in % at severity 1 to 5.
- curves: what :func:`~smoothmix.reporting.curves.mean_curves` returns.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from smoothmix.corruptions import SEVERITIES
from smoothmix.evaluation.averages import category_means, complete, means
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.reporting.claims import ENDPOINTS
from smoothmix.reporting.curves import mean_curves
from smoothmix.reporting.table_cells import TableCell, match
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import write_text
from smoothmix.utils.records import Record, RunKey, RunRecord

EVALUATION = ("weights", "source")  # what tells one evaluation of a run on corrupted images from another
FACTS = ("epochs", "parameters", "seconds", "precision", "device", "git_commit")
LEVELS = [f"severity_{severity}" for severity in SEVERITIES]


class Study(NamedTuple):
    """The three frames."""

    runs: pd.DataFrame
    corruptions: pd.DataFrame
    curves: pd.DataFrame


def collect(cells: Sequence[TableCell], records: Sequence[RunRecord], corrupted: Sequence[CorruptionRecord]) -> Study:
    """Return the study of the `cells` of a table, from the records of runs and those of `corrupted` images.

    Of several evaluations on corrupted images (published files, generated) it takes the one of most runs.

    Raises:
        UserError: the log of a run is damaged.
    """
    found = match(records, cells)
    of_cells = [record for record in corrupted if record.key in found]
    settings = Counter((record.weights, record.source) for record in of_cells)
    setting = min(settings, key=lambda one: (-settings[one], str(one)), default=None)
    chosen = [record for record in of_cells if (record.weights, record.source) == setting]
    evaluated = match(chosen, cells)
    names = {name for record in chosen for name in means(record.top1_errors)}
    runs, errors = [], []
    logged: dict[str, list[RunRecord]] = {}
    for cell in cells:
        if cell.key not in found:
            continue
        record, place = found[cell.key], {"row": cell.row, "seed": cell.key.seed}
        runs.append(place | _clean(record) | _corrupted(evaluated.get(cell.key), names) | _facts(FACTS, record))
        if (record.directory / "metrics.jsonl").exists():  # in results/ there are only records
            logged.setdefault(cell.row, []).append(record)
        if cell.key in evaluated:
            errors += _lines(place, evaluated[cell.key])
    corruptions = pd.DataFrame(errors, columns=["row", "seed", "corruption", *LEVELS])
    columns = ["row", "seed", "method", *ENDPOINTS, "train_loss", *EVALUATION, *FACTS]
    return Study(pd.DataFrame(runs, columns=columns), corruptions, mean_curves(logged))


def every_seed(cells: Sequence[TableCell], records: Sequence[RunRecord]) -> list[TableCell]:
    """Return the cells of the table's rows with the seeds that the records have, whatever the table's are."""
    rows: dict[RunKey, str] = {cell.key._replace(seed=None): cell.row for cell in cells}
    runs = sorted({(record.seed, record.key) for record in records if record.key._replace(seed=None) in rows})
    return [TableCell(rows[key._replace(seed=None)], key, (), Path()) for _, key in runs]


def write(study: Study, folder: Path) -> None:
    """Write the frames as runs.csv, corruptions.csv and curves.csv; raises UserError if the file system refuses."""
    for name, frame in study._asdict().items():
        write_text(folder / f"{name}.csv", frame.to_csv(index=False, float_format="%.10g"))


def read(folder: Path) -> Study:
    """Return what :func:`write` wrote.

    Raises:
        UserError: a file is missing or has not the columns.
    """
    empty = collect([], [], [])
    frames = {}
    for name, columns in ((name, list(frame.columns)) for name, frame in empty._asdict().items()):
        path = folder / f"{name}.csv"
        try:
            frames[name] = pd.read_csv(path, dtype={"git_commit": str})
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error}); make it again from the runs") from error
        if missing := [column for column in columns if column not in frames[name]]:
            raise UserError(f"{path} has no column {missing[0]}; make it again from the runs")
    if frames["runs"].duplicated(["row", "seed"]).any():
        raise UserError(f"{folder / 'runs.csv'} has two lines for one row and seed; make it again from the runs")
    return Study(**frames)


def _clean(record: RunRecord) -> dict[str, Any]:
    return {
        "method": record.method,
        "last_top1": record.error("last"),
        "best_top1": record.error("best"),
        "last_top5": record.error("last", 5),
        "test_loss": record.last.get("test_loss"),
        "train_loss": record.last.get("train_loss"),
    }


def _corrupted(record: CorruptionRecord | None, names: set[str]) -> dict[str, Any]:
    """Return the endpoints on corrupted images, if the record has all of `names` in full."""
    if record is None or means(record.top1_errors).keys() != names or not names:
        return {}
    over_severities = means(record.top1_errors)
    mean = sum(over_severities.values()) / len(over_severities)
    gap = mean - record.clean_top1_error
    of_categories = category_means(record.top1_errors)
    return {"corrupted": mean, **of_categories, "corruption_gap": gap} | _facts(EVALUATION, record)


def _facts(names: Sequence[str], record: Record) -> dict[str, Any]:
    return {name: record.fact(name) for name in names}


def _lines(place: dict[str, Any], record: CorruptionRecord) -> list[dict[str, Any]]:
    return [
        {**place, "corruption": name}
        | {level: cells[severity] for level, severity in zip(LEVELS, SEVERITIES, strict=True)}
        for name, cells in record.top1_errors.items()
        if complete(cells)
    ]
