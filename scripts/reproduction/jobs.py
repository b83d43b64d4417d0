"""What a table still needs: its runs as jobs, how far each is, and the commands that finish it."""

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from datasets.corrupted import find_set
from scripts.reproduction.tables import Run, Table
from smoothmix.config.run_directory import config_hash
from smoothmix.evaluation.averages import complete, corruptions_of
from smoothmix.evaluation.generated import unavailable
from smoothmix.evaluation.robustness import lock_of, read_cells
from smoothmix.reporting.records import read_record
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import weights_digest
from smoothmix.utils.locks import is_held

ROOT = Path(__file__).resolve().parents[2]
DONE, RUNNING, QUEUED, UNFINISHED, FAILED, MISSING = "done", "running", "queued", "unfinished", "failed", "missing"
STATES = (DONE, RUNNING, QUEUED, UNFINISHED, FAILED, MISSING)
# overrides of a training that its evaluation takes too
SHARED = ("device=", "timeout=", "dataset.workers=", "dataset.verify=")


@dataclass(frozen=True, eq=False)
class Job:
    """A run of a table and, where the table has a benchmark, its evaluation on corrupted images.

    `source` is where the corrupted images come from: files or generate.
    """

    table: Table
    run: Run
    source: str

    @property
    def benchmark(self) -> str | None:
        """The corrupted benchmark that the run is evaluated on, if any."""
        return self.table.benchmark

    @property
    def weights(self) -> Path:
        """The weights that are evaluated on it."""
        return self.directory / f"{self.table.weights}.pt"

    @property
    def directory(self) -> Path:
        """The run directory."""
        return self.run.directory

    @property
    def log(self) -> Path:
        """What a local launcher's commands print; locked as long as one of them lives."""
        return self.directory.with_name(f"{self.directory.name}.log")

    @property
    def record(self) -> Path:
        """What the evaluation on corrupted images leaves."""
        subset = f"-{self.table.images}" if self.table.images else ""
        return self.directory / f"{self.table.weights}.{self.benchmark}-{self.source}{subset}.json"

    @property
    def failure(self) -> Path:
        """Holds why the last attempt failed, if it did."""
        return self.directory / "failed.txt"

    def __str__(self) -> str:
        return f"{self.run.row} seed {self.run.config.seed}"


def jobs_of(table: Table, runs: Iterable[Run], source: str = "files") -> list[Job]:
    """Return the jobs of `table`, one for each of its runs.

    Raises:
        UserError: an unknown source, runs on a data set that the table's benchmark is not made of, or rows that do not
            differ.
    """
    if source not in ("files", "generate"):
        raise UserError(f"source must be files or generate, not {source!r}")
    jobs: dict[Path, Job] = {}
    for run in runs:
        name = run.config.dataset.name
        if table.benchmark and name != find_set(table.benchmark).dataset:
            raise UserError(
                f"table {table.name} evaluates on {table.benchmark}, which is made of "
                f"{find_set(table.benchmark).dataset}, but these overrides train on {name}"
            )
        if run.directory in jobs:
            raise UserError(
                f"with these overrides {jobs[run.directory].run.row} and {run.row} of table {table.name} are the "
                "same run; "
                "leave out the word that sets what the rows differ in"
            )
        jobs[run.directory] = Job(table, run, source)
    return list(jobs.values())


def distinct(jobs: Iterable[Job]) -> list[Job]:
    """Return each run once, with the evaluation that any of the tables asks for."""
    found: dict[Path, Job] = {}
    for job in jobs:
        if job.directory not in found or job.benchmark:
            found[job.directory] = job
    return list(found.values())


def commands(job: Job) -> list[list[str]]:
    """Return what has still to be run for `job`, in order, each a command and its arguments.

    Raises:
        UserError: a record of its is damaged, or another run's: it has to be moved away first.
    """
    needed = [] if trained(job) else [[_python(), _script("train.py"), *job.run.overrides]]
    return needed + ([evaluation(job)] if lacking(job) else [])


def evaluation(job: Job) -> list[str]:
    """Return the command that evaluates the weights of `job` on its benchmark."""
    shared = [word for word in job.run.overrides if word.startswith(SHARED)]
    if root := job.run.config.dataset.options.get("root"):  # the training may have had the data elsewhere
        shared.append(f"dataset.root={quoted(root)}")
    if job.table.weights != "best":
        shared.append(f"weights={job.table.weights}")
    if job.table.images:
        shared.append(f"images={job.table.images}")
    run = f"run={quoted(str(job.directory))}"
    return [
        _python(), _script("eval_corruption.py"), run, f"benchmark={job.benchmark}", f"source={job.source}", *shared
    ]  # fmt: skip


def state(job: Job) -> tuple[str, str]:
    """Return how far `job` is, one of STATES (never "queued"), and for a failed one why."""
    try:
        in_hand, whole = trained(job), not lacking(job)
        reason = ""
    except UserError as error:
        in_hand, whole, reason = False, False, str(error)
    if in_hand and whole:
        return DONE, ""
    # the log first: while it is locked, the run's own lock, which train.py may be about to take, is not touched
    if is_held(job.log) or is_held(job.directory / ".lock") or is_held(lock_of(job.record)):
        return RUNNING, ""
    if job.failure.exists():
        reason = reason or job.failure.read_text().strip()
    if reason:
        return FAILED, reason
    return (UNFINISHED if in_hand or (job.directory / "last.pt").exists() else MISSING), ""


def trained(job: Job) -> bool:
    """Return whether the training is finished.

    Raises:
        UserError: its record is damaged, or another run's.
    """
    path = job.directory / "summary.json"
    if not path.exists():
        return False
    record = read_record(path)
    if (record["config_hash"], record["seed"]) != (config_hash(job.run.config), job.run.config.seed):
        raise UserError(
            f"{path} is the record of another run ({record['recipe']}-{record['config_hash']}, seed {record['seed']}); "
            "move it away"
        )
    return True


def lacking(job: Job) -> list[str]:
    """Return the corruptions that the job's evaluation lacks: all of them before it is begun, none without a benchmark.

    Raises:
        UserError: its record is damaged, or of other weights than the run's.
    """
    if job.benchmark is None:
        return []
    constants = find_set(job.benchmark).constants
    names = corruptions_of(constants)
    if job.source == "generate":  # what cannot be made here cannot be waited for
        without = unavailable(names, constants)
        names = [name for name in names if name not in without]
    path, weights = job.record, job.weights
    if not path.exists():
        return names
    record = read_cells(path)
    # weights may be gone where only records are kept
    if weights.exists() and weights_digest(weights) != record.get("weights_sha256"):
        raise UserError(f"{path} is the record of other weights than {weights}; move it away to evaluate these")
    errors = record["top1_errors"]
    return [name for name in names if not complete(errors.get(name, {}))]


def quoted(value: str) -> str:
    """Return `value` so that it stands for itself on a Hydra command line."""
    if re.fullmatch(r"[\w./+-]+", value):
        return value
    escaped = value.replace("'", "\\'")
    return f"'{escaped}'"


def _python() -> str:
    return _from_here(Path(sys.executable))


def _script(name: str) -> str:
    return _from_here(ROOT / name)


def _from_here(path: Path) -> str:
    """Return the path as short as it can be typed here; `path` itself may be a link, as in a virtual environment."""
    return str(path.relative_to(os.getcwd())) if path.is_relative_to(os.getcwd()) else str(path)
