"""How far a table is, and how long the rest of its training takes, from how long an epoch took in the records."""

from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.reproduction.jobs import DONE, FAILED, QUEUED, RUNNING, STATES, Job, distinct, state
from scripts.reproduction.slurm import evaluation_name, job_name
from smoothmix.config.run_directory import read, what_counts
from smoothmix.reporting.records import read_record
from smoothmix.utils.checks import is_count, is_loss, is_name, wrong_key
from smoothmix.utils.errors import UserError

# what a speed is taken from
TIMED: dict[str, Callable[[Any], bool]] = {
    "device": is_name,
    "precision": is_name,
    "epochs": lambda value: is_count(value) and value > 0,
    "seconds": lambda value: is_loss(value) and value > 0,
    "world_sizes": lambda value: isinstance(value, list) and value != [] and all(map(is_count, value)),
}
AUTOMATIC = ("precision", "channels_last", "step")  # the record has what `auto` became


@dataclass(frozen=True)
class Speed:
    """Seconds of one device for an epoch (training and the clean test), on which device, from how many records."""

    seconds: float
    device: str
    records: int


def report(jobs: list[Job], waiting: Container[str] = ()) -> str:
    """Return a Markdown table of the jobs: a line for each table and row, seeds of n in each state, hours left.

    `waiting` are the names of SLURM jobs in the queue. Below come the sum, and why the failed ones failed.
    """
    records, damaged = read_speeds(jobs)
    kinds, reasons = {}, {}
    for job in jobs:
        kinds[job], reasons[job] = state(job)
        names = (job_name(job), evaluation_name(job))
        if kinds[job] not in (DONE, RUNNING) and any(name in waiting for name in names):
            kinds[job] = QUEUED
    heads = ["table", "row", *STATES, "hours left", "measured"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for table, row in dict.fromkeys((job.table.name, job.run.row) for job in jobs):
        members = [job for job in jobs if (job.table.name, job.run.row) == (table, row)]
        counts = Counter(kinds[job] for job in members)
        cells = [f"{counts[kind]}/{len(members)}" if counts[kind] else "-" for kind in STATES]
        found = speed(members[0], records)
        measured = f"{found.seconds:.1f} s an epoch on {found.device} (n={found.records})" if found else "not measured"
        lines.append("| " + " | ".join([table, row, *cells, _hours(members, records), measured]) + " |")
    every = distinct(jobs)
    done = sum(kinds[job] == DONE for job in every)
    lines += ["", f"{done} of {len(every)} runs are done"]
    lines += [f"hours of one device that are left, training and clean test: {_hours(every, records)}"]
    lines += [f"failed: {job}: {reasons[job]}" for job in every if kinds[job] == FAILED]
    lines += [f"not counted: {sentence}" for sentence in damaged]
    return "\n".join(lines)


def _hours(jobs: list[Job], records: list[dict[str, Any]]) -> str:
    """Return the hours that are left, as text; "not measured" if that is so of any that is not trained."""
    seconds = 0.0
    for job in jobs:
        if left := epochs_left(job):
            found = speed(job, records)
            if found is None:
                return "not measured"
            seconds += left * found.seconds
    hours = seconds / 3600
    return f"{hours:.1f}" if hours >= 10 else f"{hours:.3f}"


def read_speeds(jobs: list[Job]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the records beneath the jobs' output folders, each with its `config`.

    The second value is a sentence about each file that is no record, has no configuration beside it, or is not timed.
    """
    records, damaged = [], []
    for output in sorted({Path(job.run.config.output).expanduser() for job in jobs}):
        for path in sorted(output.rglob("summary.json")):
            try:
                record = read_record(path) | {"config": read(path.parent / "config.yaml")}
                if flaw := wrong_key(record, TIMED):
                    raise UserError(f"{path} does not say how long an epoch took: {flaw} is missing or wrong")
                records.append(record)
            except UserError as error:
                damaged.append(str(error))
    return records, damaged


def speed(job: Job, records: list[dict[str, Any]]) -> Speed | None:
    """Return the mean over the records of the same work (:func:`_work`) and precision, or None if there is none.

    Those of its own method are taken if there are any, and of several devices the one with most records.
    """
    config = job.run.config.to_dict()
    alike = [
        record
        for record in records
        if len(record["world_sizes"]) == 1
        and _work(record["config"]) == _work(config)
        and all(config[key] in ("auto", record.get(key)) for key in AUTOMATIC)
    ]
    alike = [record for record in alike if record["method"] == config["method"]] or alike
    if not alike:
        return None
    device, count = Counter(record["device"] for record in alike).most_common(1)[0]
    seconds = [
        record["seconds"] / record["epochs"] * record["world_sizes"][0]
        for record in alike
        if record["device"] == device
    ]
    return Speed(sum(seconds) / count, device, count)


def _work(config: dict[str, Any]) -> tuple[Any, ...]:
    """Return what decides how long an epoch takes, but for the method: images, network, batch size, kernels."""
    counted, recipe = what_counts(config), config.get("recipe")
    batch_size = recipe.get("batch_size") if isinstance(recipe, dict) else None
    return counted["dataset"], counted.get("model"), batch_size, counted.get("deterministic")


def epochs_left(job: Job) -> int:
    """Return how many epochs of its training are not done."""
    if (job.directory / "summary.json").exists():
        return 0
    metrics = job.directory / "metrics.jsonl"
    done = len(metrics.read_bytes().splitlines()) if metrics.exists() else 0
    return int(job.run.config.recipe.epochs) - done
