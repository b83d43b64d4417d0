"""Two frames, of which every table, figure, claim and page is made.

- ``runs``: a line for each finished run. Its name is the path of its directory,
  ``dataset/model/method/recipe-hash/seed``; beside it stand its errors (in %) and what it was made with.
- ``errors``: a line for each evaluation of a run, measure and corruption (or "clean"): the value at severity 1 to 5.

Both come from the records in run directories, and from the files runs.csv and errors.csv that :func:`write` leaves.
"""

import csv
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from smoothmix.corruptions import CORRUPTIONS, SEVERITIES
from smoothmix.evaluation.calibration import MEASURES
from smoothmix.evaluation.clean import CleanRecord
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import read_text, write_text
from smoothmix.utils.records import Record, RunRecord, is_count, is_float, is_loss, is_name, is_percentage
from smoothmix.utils.walk import find_files

NAME = re.compile(r"([^/]+)/([^/]+)/([^/]+)/([^/]+)-([^/-]+)(?:/seed(\d+))?")
KEY = ("dataset", "model", "method", "recipe", "config_hash", "seed")  # what the name of a run consists of
RECORDS: dict[str, type[RunRecord | CorruptionRecord | CleanRecord]] = {  # by the names of their files
    r"summary\.json": RunRecord,
    r".+\..+_c-(files|generate)(-\d+)?(-(all|subset)_classes)?\.json": CorruptionRecord,
    r".+\..+-(test|val|train)(-\d+)?(-(all|subset)_classes)?\.json": CleanRecord,
}
LEVELS = [f"severity_{severity}" for severity in SEVERITIES]
EVALUATION = ["run", "weights", "benchmark", "source", "images"]  # what tells one evaluation from another
TOP1 = "top1_error"
ERRORS_OF = {"best_top1": ("best", 1), "best_top5": ("best", 5), "last_top1": ("last", 1), "last_top5": ("last", 5)}

COUNT, PERCENT, LOSS, FLOAT, TEXT = (
    (int, is_count), (float, is_percentage), (float, is_loss), (float, is_float), (str, is_name)
)  # fmt: skip
RUNS = {
    "run": TEXT,
    "epochs": COUNT,
    "selected_on": TEXT,
    **dict.fromkeys(ERRORS_OF, PERCENT),
    **{f"test_{measure}": FLOAT for measure in MEASURES},  # after the last epoch
    "train_loss": FLOAT,
    "train_images": COUNT,
    "test_images": COUNT,
    "data_fingerprint": TEXT,
    "precision": TEXT,
    "batch_per_rank": COUNT,
    "parameters": COUNT,
    "seconds": LOSS,
    "device": TEXT,
    "git_commit": TEXT,
}
ERRORS = {
    "run": TEXT,
    "weights": TEXT,
    "benchmark": TEXT,
    "source": TEXT,
    "images": COUNT,
    "measure": TEXT,
    "corruption": TEXT,
    "clean": FLOAT,
    **dict.fromkeys(LEVELS, FLOAT),
}
T = TypeVar("T")
NEEDED = {"run", "epochs", "selected_on", "best_top1", "last_top1"}  # without the others a line still counts
NEEDED |= {"weights", "benchmark", "source", "measure", "corruption"}


@dataclass
class Results:
    """The two frames, a sentence about each file that was not counted, and why run directories have no record yet.

    `runs` has the columns of :data:`RUNS`, those of :data:`KEY`, and `directory` (NaN where only a CSV file is);
    `errors` those of :data:`ERRORS`, with `mean`, which is NaN unless all five severities are there ("clean": its
    value). `records` are the records of evaluations, for a card.
    """

    runs: pd.DataFrame
    errors: pd.DataFrame
    problems: list[str] = field(default_factory=list)
    unfinished: dict[Path, str] = field(default_factory=dict)
    records: list[CleanRecord | CorruptionRecord] = field(default_factory=list)

    def of(self, names: Iterable[str]) -> "Results":
        """Return the results of the runs with these `names` alone."""
        wanted = set(names)
        runs, errors = (frame[frame["run"].isin(wanted)] for frame in (self.runs, self.errors))
        return Results(runs, errors, self.problems, self.unfinished, self.records)


def read_folders(folders: Sequence[Path]) -> Results:
    """Return what is recorded beneath `folders`.

    Hidden and tool folders are skipped, links followed. Of identical copies of a run or an evaluation the first counts;
    of those that contradict each other none does. Neither do seeds of one setting that were trained on other images
    or in another precision than the first, nor evaluations on other images than the run's.

    Raises:
        UserError: one of the folders does not exist.
    """
    problems: list[str] = []
    unfinished: dict[Path, str] = {}
    records: list[CleanRecord | CorruptionRecord] = []
    runs: list[dict[str, Any]] = []
    errors: list[list[dict[str, Any]]] = []  # of each evaluation
    for path in _files(folders, problems, unfinished):
        try:
            if path.name == "runs.csv":
                runs += _read_csv(path, RUNS)
            elif path.name == "errors.csv":
                errors += _evaluations(_read_csv(path, ERRORS))
            elif (record := _read_record(path)) is not None:
                if isinstance(record, RunRecord):
                    runs.append(_line_of(record))
                else:
                    records.append(record)
                    errors.append(_lines_of(record))
        except UserError as error:
            problems.append(str(error))
    runs = _distinct(runs, lambda run: run["run"], lambda run: [run[name] for name in ERRORS_OF], problems)
    runs = _agreeing(runs, problems)
    errors = [lines for lines in errors if lines and _on_the_runs_images(lines[0], runs, problems)]
    errors = _distinct(errors, lambda lines: tuple(lines[0][name] for name in EVALUATION), _top1, problems)
    return Results(
        runs_frame(runs), errors_frame([line for lines in errors for line in lines]), problems, unfinished, records
    )


def runs_frame(lines: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the frame of runs that these lines are, in the order of their names."""
    frame = pd.DataFrame(lines, columns=[*RUNS, "directory"])
    frame = frame.astype({name: float for name, (kind, _) in RUNS.items() if kind is not str})
    parts = frame["run"].str.extract(NAME).set_axis(KEY, axis=1)
    return frame.join(parts.astype({"seed": float})).sort_values(["run", "seed"], ignore_index=True)


def errors_frame(lines: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the frame of errors that these lines are."""
    frame = pd.DataFrame(lines, columns=[*ERRORS, "fingerprint"]).drop(columns="fingerprint")
    frame = frame.astype({name: float for name, (kind, _) in ERRORS.items() if kind is not str})
    return frame.assign(mean=frame["clean"].fillna(frame[LEVELS].mean(axis=1, skipna=False)))


def write(results: Results, folder: Path) -> None:
    """Write the frames as runs.csv and errors.csv, every digit; raises UserError if the file system refuses."""
    for name, frame, columns in (("runs", results.runs, RUNS), ("errors", results.errors, ERRORS)):
        whole = {column: "Int64" for column, (kind, _) in columns.items() if kind is int}
        text = frame[[*columns]].astype(whole).to_csv(index=False, lineterminator="\n")
        write_text(folder / f"{name}.csv", text)


def run_name(record: Record) -> str:
    """Return the name of the run that a record is of."""
    *names, recipe, number, seed = record.key
    return "/".join([*map(str, names), f"{recipe}-{number}", *([] if seed is None else [f"seed{seed}"])])


# ---- files


def _files(folders: Sequence[Path], problems: list[str], unfinished: dict[Path, str]) -> list[Path]:
    files: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}")
        files |= {path.resolve(): path for path in find_files(folder, "*", problems)}
    begun, finished = (
        {path.parent for path in files.values() if path.name == name} for name in ("config.yaml", "summary.json")
    )
    unfinished |= {directory: _reason(directory) for directory in sorted(begun - finished)}
    return [*files.values()]


def _reason(directory: Path) -> str:
    """Return why a run directory has no record."""
    try:
        failure, metrics = directory / "failed.txt", directory / "metrics.jsonl"
        if failure.exists():
            return f"failed: {read_text(failure).strip()[:500]}"
        epochs = len(read_text(metrics).splitlines()) if metrics.exists() else 0
    except (OSError, ValueError) as error:
        return f"cannot be read ({error})"
    return f"running or interrupted after {epochs} epoch{'' if epochs == 1 else 's'}; the same command resumes it"


def _read_record(path: Path) -> RunRecord | CorruptionRecord | CleanRecord | None:
    """Return the record in a file, None if its name is not that of one."""
    for name, kind in RECORDS.items():
        if re.fullmatch(name, path.name):
            record = kind.read(path)
            if isinstance(record, CorruptionRecord):
                record.check_weights()
            return record
    return None


def _read_csv(path: Path, columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the lines of a file that :func:`write` left; its values obey the records' rules.

    Raises:
        UserError: a column is missing, or a value cannot be.
    """
    try:
        text = read_text(path)
        reader = csv.DictReader(StringIO(text), strict=True)
        rows, heads = list(reader), reader.fieldnames or ()
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}); make it again from the runs") from error
    if missing := sorted({*columns} & NEEDED - {*heads}):
        raise UserError(f"{path} has no column {missing[0]}; make it again from the runs")
    lines, names = [], [name for name in columns if name in heads]
    for number, row in enumerate(rows, 2):
        line: dict[str, Any] = dict.fromkeys(columns)
        for name in names:
            try:
                line[name] = columns[name][0](row[name]) if row[name] else None
            except (ValueError, TypeError) as error:
                raise UserError(f"{path}, line {number}: {name} cannot be {row[name]!r}") from error
        lines.append(_checked(line, columns, f"{path}, line {number}"))
    return lines


def _checked(line: dict[str, Any], columns: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return `line`; raise UserError for a value that breaks its column's rule."""
    for name, (_, holds) in columns.items():
        value = line[name]
        if not (holds(value) or (value is None and name not in NEEDED)):
            raise UserError(f"{where}: {name} cannot be {value!r}")
    if not NAME.fullmatch(line["run"]):
        raise UserError(f"{where}: {line['run']!r} is not dataset/model/method/recipe-hash/seed")
    if "measure" in line:
        known = line["corruption"] in CORRUPTIONS or line["corruption"] == "clean"
        percents = [line[name] for name in ("clean", *LEVELS) if line[name] is not None]
        if not known or (line["measure"] in (TOP1, "top5_error") and not all(map(is_percentage, percents))):
            raise UserError(f"{where}: {line['corruption']} is not a corruption with errors in %")
    return line


def _line_of(record: RunRecord) -> dict[str, Any]:
    last, images = record.last, record.fact("images")
    line = {name: record.fact(name) for name in RUNS}
    line |= {name: record.error(*of) for name, of in ERRORS_OF.items()}
    line |= {name: last.get(name) for name in ("train_loss", *(f"test_{measure}" for measure in MEASURES))}
    line |= {f"{split}_images": images.get(split) if isinstance(images, dict) else None for split in ("train", "test")}
    line["run"] = run_name(record)
    return _checked(line, RUNS, str(record.path)) | {"directory": record.directory}


def _lines_of(record: CleanRecord | CorruptionRecord) -> list[dict[str, Any]]:
    of_evaluation = dict.fromkeys(ERRORS) | {"run": run_name(record), "weights": record.weights}
    of_evaluation |= {"images": record.fact("images"), "fingerprint": record.data_fingerprint}
    if isinstance(record, CleanRecord):
        classes = f", argmax over {classes} classes" if (classes := record.fact("classes")) else ""
        of_evaluation |= {"benchmark": record.split, "source": f"clean images{classes}", "corruption": "clean"}
        lines = [{"measure": name, "clean": getattr(record, name)} for name in (TOP1, "top5_error", *MEASURES)]
    else:
        of_evaluation |= {"benchmark": record.benchmark, "source": record.source}
        lines = []
        for measure in (TOP1, *MEASURES):
            clean, cells = record.measured(measure)
            lines += [] if math.isnan(clean) else [{"measure": measure, "corruption": "clean", "clean": clean}]
            lines += [
                {"measure": measure, "corruption": name, **{f"severity_{level}": value for level, value in of.items()}}
                for name, of in cells.items()
            ]
    return [_checked(of_evaluation | line, ERRORS, str(record.path)) for line in lines]


def _evaluations(lines: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for line in lines:
        found.setdefault(tuple(line[name] for name in EVALUATION), []).append(line)
    return [*found.values()]


# ---- what counts


def _top1(lines: Sequence[Mapping[str, Any]]) -> list[float | None]:
    of = {line["corruption"]: line for line in lines if line["measure"] == TOP1}
    return [of[name][column] for name in sorted(of) for column in ("clean", *LEVELS)]


def _distinct(
    entries: Iterable[T],
    identity: Callable[[T], Any],
    values: Callable[[T], Sequence[float | None]],
    problems: list[str],
) -> list[T]:
    """Return one of the entries for each run or evaluation; none of those that contradict each other."""
    by_key: dict[Any, list[T]] = {}
    for entry in entries:
        by_key.setdefault(identity(entry), []).append(entry)
    kept = []
    for key, (first, *others) in by_key.items():
        one = np.array(values(first), dtype=float)
        same = (np.array(values(other), dtype=float) for other in others)
        if all(one.shape == other.shape and np.allclose(one, other, atol=1e-6, equal_nan=True) for other in same):
            kept.append(first)
        else:
            name = key if isinstance(key, str) else " ".join(map(str, key))
            problems.append(f"there are records of {name} with different results; move all but the right one away")
    return kept


def _agreeing(runs: Iterable[dict[str, Any]], problems: list[str]) -> list[dict[str, Any]]:
    """Return the runs but those of a setting on other images, or in another precision, than its first seed."""
    first: dict[tuple[str, str], dict[str, Any]] = {}
    kept = []
    for run in runs:
        setting = run["run"].rpartition("/seed")[0]
        for name, what in (("data_fingerprint", "on other images"), ("precision", "in another precision")):
            if run[name] is None:
                continue
            other = first.setdefault((setting, name), run)
            if other[name] != run[name]:
                problems.append(
                    f"{run['run']} was trained {what} ({run[name]}) than {other['run'].rpartition('/')[2]} of the same "
                    f"setting ({other[name]}): it is not counted"
                )
                break
        else:
            kept.append(run)
    return kept


def _on_the_runs_images(line: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], problems: list[str]) -> bool:
    fingerprint = line.get("fingerprint")
    of_run = next((run["data_fingerprint"] for run in runs if run["run"] == line["run"]), None)
    if None in (fingerprint, of_run) or fingerprint == of_run:
        return True
    problems.append(
        f"{line['benchmark']} of {line['run']} ({line['weights']} weights) was evaluated on other images "
        f"({fingerprint}) than the run's ({of_run}): it is not counted"
    )
    return False
