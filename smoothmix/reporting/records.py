"""Finding the records beneath folders: each run once, and a sentence about everything that cannot be counted."""

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.utils.errors import UserError
from smoothmix.utils.records import AnyRecord, RunRecord
from smoothmix.utils.walk import find_files

CORRUPTED = re.compile(r".+\..+_c-(files|generate)(-\d+)?\.json")


@dataclass
class Found:
    """The records beneath some folders, by path, and a sentence about each file or folder that was not counted.

    `unfinished` are the run directories without a record, and why they have none.
    """

    runs: list[RunRecord] = field(default_factory=list)
    corrupted: list[CorruptionRecord] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unfinished: dict[Path, str] = field(default_factory=dict)


def read_folders(folders: Sequence[Path]) -> Found:
    """Return the records of finished runs and of their evaluations on corrupted images beneath `folders`.

    Hidden and tool folders are skipped, links followed. Of identical copies of a record the first counts; of records
    that contradict each other none does, and neither do seeds of one setting that were trained in another precision
    than the first.

    Raises:
        UserError: one of the folders does not exist.
    """
    found = Found()
    files = {path.resolve(): path for folder in folders for path in _files(folder, found)}
    for path in files.values():
        try:
            if path.name == "summary.json":
                found.runs.append(RunRecord.read(path))
            else:
                record = CorruptionRecord.read(path)
                record.check_weights()
                found.corrupted.append(record)
        except UserError as error:
            found.problems.append(str(error))
    errors = [("best", 1), ("best", 5), ("last", 1), ("last", 5)]
    runs = _distinct(
        found.runs, lambda run: run.key, lambda run: [run.error(when, k) for when, k in errors], found.problems
    )
    found.runs = _one_precision(runs, found.problems)
    found.corrupted = _distinct(
        found.corrupted, lambda one: (one.key, one.benchmark, one.source, one.weights), lambda one: one.top1_errors,
        found.problems,
    )  # fmt: skip
    return found


def _files(folder: Path, found: Found) -> Iterable[Path]:
    """Return the files beneath `folder` that are records, by path, and note what is unfinished or cannot be read."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    files = find_files(folder, "*", found.problems)
    of_runs = {name: {path.parent for path in files if path.name == name} for name in ("config.yaml", "summary.json")}
    unfinished = sorted(of_runs["config.yaml"] - of_runs["summary.json"])
    found.unfinished |= {directory: _reason(directory) for directory in unfinished}
    return [path for path in files if path.name == "summary.json" or CORRUPTED.fullmatch(path.name)]


def _reason(directory: Path) -> str:
    """Return why a run directory has no record."""
    try:
        failure, metrics = directory / "failed.txt", directory / "metrics.jsonl"
        if failure.exists():
            return f"failed: {failure.read_text(encoding='utf-8', errors='replace').strip()[:500]}"
        epochs = len(metrics.read_bytes().splitlines()) if metrics.exists() else 0
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return f"running or interrupted after {epochs} epoch{'' if epochs == 1 else 's'}; the same command resumes it"


def _distinct(
    records: Iterable[AnyRecord],
    identity: Callable[[AnyRecord], Hashable],
    results: Callable[[AnyRecord], object],
    problems: list[str],
) -> list[AnyRecord]:
    """Return one record for each run and evaluation; none of those that contradict each other."""
    by_key: dict[Hashable, list[AnyRecord]] = {}
    for record in records:
        by_key.setdefault(identity(record), []).append(record)
    kept = []
    for first, *others in by_key.values():
        differing = [other for other in others if results(other) != results(first)]
        if differing:
            problems.append(
                f"{first.path} and {differing[0].path} are records of the same run ({first.method}, seed {first.seed}) "
                "with different results; move one of them away"
            )
        else:
            kept.append(first)
    return kept


def _one_precision(records: Sequence[RunRecord], problems: list[str]) -> list[RunRecord]:
    """Return the records but those of a setting in a second precision: `precision=auto` takes what the device has."""
    first: dict[tuple[object, ...], RunRecord] = {}
    kept = []
    for record in records:
        other = first.setdefault(record.key._replace(seed=None), record)
        if other.precision == record.precision:
            kept.append(record)
        else:
            problems.append(
                f"{other.path} was trained in {other.precision} and {record.path}, of the same setting, in "
                f"{record.precision}; the latter is not counted: give precision= to both"
            )
    return kept
