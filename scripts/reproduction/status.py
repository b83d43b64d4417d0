"""How far a table is, and how long the rest of its training takes, from how long an epoch took in the records."""

from collections import Counter
from collections.abc import Container
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from scripts.reproduction.jobs import DONE, FAILED, QUEUED, RUNNING, STATES, Job, alike, distinct, obstacles, state
from scripts.reproduction.slurm import evaluation_name, training_name
from smoothmix.config.run_directory import read, what_counts
from smoothmix.utils.errors import UserError
from smoothmix.utils.records import RunRecord
from smoothmix.utils.walk import find_files

TIMED = ("device", "precision", "seconds", "world_sizes")  # what a speed is taken from
AUTOMATIC = ("precision", "channels_last", "step")  # the record has what `auto` became


class Speed(NamedTuple):
    """Mean seconds per epoch (training and clean test) of one device, and from how many records."""

    seconds: float
    device: str
    records: int

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s per epoch on {self.device} (n={self.records})"


class TimedRecord(NamedTuple):
    """The record of a finished run, and its configuration."""

    record: RunRecord
    config: dict[str, Any]


def report(jobs: list[Job], queue: Container[str] = ()) -> str:
    """Return a table of text: for each table and row the number of seeds in each state and the hours left.

    Below stand the sums, why failed jobs failed, and what is missing on this machine. `queue` has the names of the
    SLURM jobs that wait or run.
    """
    records, damaged = read_timed_records(jobs)
    states = {job: _state(job, queue) for job in jobs}
    speeds = {job: speed(job, records) for job in jobs}
    rows: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        rows.setdefault((job.table.name, job.row), []).append(job)
    lines = []
    for (table, row), members in rows.items():
        counts = Counter(states[job][0] for job in members)
        seeds = {kind: f"{counts[kind]}/{len(members)}" if counts[kind] else "-" for kind in STATES}
        hours = {"hours left": _hours(members, speeds), "measured": str(speeds[members[0]] or "not measured")}
        lines.append({"table": table, "row": row, **seeds, **hours})
    every = distinct(jobs)
    open_jobs = [job for job in every if states[job][0] != DONE]
    parts = [
        pd.DataFrame(lines).to_string(index=False),
        "",
        f"{len(every) - len(open_jobs)} of {len(every)} runs are done",
        f"hours left on one device, training and clean test: {_hours(every, speeds)}",
        *(f"failed: {line}" for line in alike({job: states[job][1] for job in every if states[job][0] == FAILED})),
        *(f"note: {sentence}" for sentence in obstacles(open_jobs)),
        *(f"not counted: {sentence}" for sentence in damaged),
    ]
    return "\n".join(parts)


def _state(job: Job, queue: Container[str]) -> tuple[str, str]:
    kind, reason = state(job)
    if kind not in (DONE, RUNNING) and (training_name(job) in queue or evaluation_name(job) in queue):
        return QUEUED, ""
    return kind, reason


def _hours(jobs: list[Job], speeds: dict[Job, Speed | None]) -> str:
    """Return the hours left, as text; "not measured" if one of the jobs has epochs left and no speed."""
    left = {job: epochs for job in jobs if (epochs := _epochs_left(job))}
    if any(speeds[job] is None for job in left):
        return "not measured"
    hours = sum(epochs * speeds[job].seconds for job, epochs in left.items()) / 3600
    return f"{hours:.1f}" if hours >= 10 else f"{hours:.3f}"


def _epochs_left(job: Job) -> int:
    if (job.directory / "summary.json").exists():
        return 0
    metrics = job.directory / "metrics.jsonl"
    done = len(metrics.read_bytes().splitlines()) if metrics.exists() else 0
    return job.config.recipe.epochs - done


def read_timed_records(jobs: list[Job]) -> tuple[list[TimedRecord], list[str]]:
    """Return the records beneath the jobs' output folders, each with its configuration.

    The second value is a sentence about each file that is no record, has no configuration beside it, or is not timed.
    """
    records, damaged = [], []
    for output in sorted({Path(job.config.output).expanduser() for job in jobs}):
        for path in find_files(output, "summary.json") if output.is_dir() else ():
            try:
                record, config = RunRecord.read(path), read(path.parent / "config.yaml")
                if flaw := next((name for name in ("epochs", *TIMED) if not getattr(record, name)), None):
                    raise UserError(f"{path} does not say how long an epoch took: {flaw} is missing or wrong")
                records.append(TimedRecord(record, config))
            except UserError as error:
                damaged.append(str(error))
    return records, damaged


def speed(job: Job, records: list[TimedRecord]) -> Speed | None:
    """Return the mean over the records of the same work (:func:`_work`) and precision, or None if there is none.

    Records of its own method are preferred; of several devices the one with most records is taken.
    """
    config = job.config.to_dict()
    alike = [
        measured.record
        for measured in records
        if len(measured.record.world_sizes) == 1
        and _work(measured.config) == _work(config)
        and all(config[key] in ("auto", getattr(measured.record, key)) for key in AUTOMATIC)
    ]
    alike = [record for record in alike if record.method == config["method"]] or alike
    if not alike:
        return None
    device, count = Counter(record.device for record in alike).most_common(1)[0]
    of_device = [record for record in alike if record.device == device]
    seconds = sum(record.seconds / record.epochs * record.world_sizes[0] for record in of_device)
    return Speed(seconds / count, device, count)


def _work(config: dict[str, Any]) -> tuple[Any, ...]:
    """Return what decides how long an epoch takes, but for the method: images, network, batch size, kernels."""
    counted, recipe = what_counts(config), config.get("recipe")
    batch_size = recipe.get("batch_size") if isinstance(recipe, dict) else None
    return counted["dataset"], counted.get("model"), batch_size, counted.get("deterministic")
