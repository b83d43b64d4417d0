"""Learning curves: the logs of runs, and their means over seeds."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from smoothmix.utils.errors import UserError
from smoothmix.utils.files import parse_object, read_text
from smoothmix.utils.records import is_count, is_loss, is_percentage, wrong_key

MEASURES = {"train_loss": "training loss", "test_top1_error": "test top-1 error (%)", "test_loss": "test loss"}
EVALUATED = {"epoch": is_count, "test_top1_error": is_percentage, "test_loss": is_loss}  # of a line with test errors


def read_log(path: Path) -> pd.DataFrame:
    """Return epoch and :data:`MEASURES` of the evaluated epochs in a run's metrics.jsonl.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        rows = [parse_object(line) for line in read_text(path).splitlines() or [""]]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not the log of a run ({error}); repeat that run") from error
    for number, row in enumerate(rows, start=1):
        rules = EVALUATED if "test_top1_error" in row else {"epoch": is_count}
        if "train_loss" in row:
            rules = rules | {"train_loss": is_loss}
        if flaw := wrong_key(row, rules) or ("epoch" if row["epoch"] != number else None):
            raise UserError(f"{path} is not the log of a run ({flaw} of line {number} is wrong); repeat that run")
    frame = pd.DataFrame([row for row in rows if "test_top1_error" in row], columns=["epoch", *MEASURES])
    return frame.astype(dict.fromkeys(MEASURES, float))


def mean_curves(runs: pd.DataFrame, folders: Sequence[Path] = (), problems: list[str] | None = None) -> pd.DataFrame:
    """Return label, epoch, n, and mean and sample standard deviation (``<name>_std``) over seeds of each measure.

    Args:
        runs: columns label and directory; runs without a log are left out.
        folders: where no run has a log, a curves.csv in one of these folders is read, as far as it has the labels.
        problems: gets a sentence about each log that is damaged.
    """
    logs = []
    for label, directory in runs[["label", "directory"]].dropna().itertuples(index=False):
        if (directory / "metrics.jsonl").exists():
            try:
                logs.append(read_log(directory / "metrics.jsonl").assign(label=label))
            except UserError as error:
                if problems is not None:
                    problems.append(str(error))
    kept = [folder / "curves.csv" for folder in folders if (folder / "curves.csv").is_file()]
    if not logs and kept:
        means = pd.read_csv(kept[0])
        return means[means["label"].isin(runs["label"])]
    empty = pd.DataFrame(columns=["label", "epoch", *MEASURES], dtype=float)
    groups = pd.concat([*logs, empty]).groupby(["label", "epoch"], sort=False)
    named = {f"{name}{end}": (name, how) for name in MEASURES for end, how in (("", "mean"), ("_std", "std"))}
    return groups.agg(n=("epoch", "size"), **named).reset_index()
