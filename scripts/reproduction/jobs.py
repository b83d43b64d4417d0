"""The jobs of a table: how far each is, and the commands that finish it."""

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets.corrupted_sets import find_set
from scripts.reproduction.tables import Run, Table, check_source
from smoothmix.config import build
from smoothmix.evaluation.generated import unavailable
from smoothmix.evaluation.robustness import CorruptionRecord, lock_of
from smoothmix.reporting.tables import evaluation_command as command_of_evaluation
from smoothmix.utils.command import override
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import is_held, read_text
from smoothmix.utils.records import RunRecord

ROOT = Path(__file__).resolve().parents[2]
DONE, RUNNING, QUEUED, UNFINISHED, FAILED, MISSING = "done", "running", "queued", "unfinished", "failed", "missing"
STATES = (DONE, RUNNING, QUEUED, UNFINISHED, FAILED, MISSING)


@dataclass(frozen=True, eq=False)
class Job(Run):
    """A run to train and, where its table says so, to evaluate on corrupted images from `source`: files or generate."""

    table: Table
    source: str

    @property
    def log(self) -> Path:
        """What its commands print on this machine; locked while a launcher or one of its commands lives."""
        return self.directory.with_name(f"{self.directory.name}.log")

    @property
    def record(self) -> Path | None:
        """The record of its evaluation, if there is to be one."""
        evaluation = self.table.evaluation
        return self.directory / evaluation.record_name(self.source) if evaluation else None

    @property
    def failure(self) -> Path:
        """Says why the last attempt failed, if it did."""
        return self.directory / "failed.txt"

    def __str__(self) -> str:
        return f"{self.row} seed {self.key.seed}"


def jobs_of(table: Table, runs: Iterable[Run], source: str = "") -> list[Job]:
    """Return a job for each of the `runs` of `table`, on corrupted images from `source` or the table's own.

    Raises:
        UserError: an unknown source, runs on another data set than the table's benchmark is made of, or two rows that
            are the same run.
    """
    source = source or table.source
    check_source(source)
    jobs: dict[Path, Job] = {}
    for run in runs:
        name = run.config.dataset.name
        if table.benchmark and name != find_set(table.benchmark).dataset:
            raise UserError(
                f"table {table.name} evaluates on {table.benchmark}, which is made from "
                f"{find_set(table.benchmark).dataset}, but these overrides train on {name}"
            )
        if run.directory in jobs:
            raise UserError(
                f"with these overrides {jobs[run.directory].row} and {run.row} of table {table.name} are the same "
                "run; leave out the override that makes them equal"
            )
        jobs[run.directory] = Job(**vars(run), table=table, source=source)
    return list(jobs.values())


def distinct(jobs: Iterable[Job]) -> list[Job]:
    """Return a job for each run, with the evaluation that any of the tables asks for."""
    found: dict[Path, Job] = {}
    for job in jobs:
        if job.directory not in found or job.table.benchmark:
            found[job.directory] = job
    # seed by seed, so that what is done at any time compares all rows alike
    return sorted(found.values(), key=lambda job: job.key.seed)


def state(job: Job) -> tuple[str, str]:
    """Return how far `job` is, one of STATES (never "queued"), and for a failed one why."""
    try:
        finished, reason = trained(job), ""
        if finished and not missing_corruptions(job):
            return DONE, ""
    except UserError as error:
        finished, reason = False, str(error)
    # the log first: while it is locked, the run's own lock, which train.py may be about to take, is not touched
    locks = [job.log, job.directory / ".lock", *([lock_of(job.record)] if job.record else [])]
    if any(map(is_held, locks)):
        return RUNNING, ""
    if job.failure.exists():
        reason = reason or _failure(job)
    if reason:
        return FAILED, reason
    return (UNFINISHED if finished or (job.directory / "last.pt").exists() else MISSING), ""


def _failure(job: Job) -> str:
    try:
        return read_text(job.failure).strip()
    except (OSError, ValueError) as error:
        return f"{job.failure} cannot be read ({error})"


def trained(job: Job) -> bool:
    """Return whether the training is finished.

    Raises:
        UserError: its record is damaged, or another run's.
    """
    path = job.directory / "summary.json"
    if not path.exists():
        return False
    record = RunRecord.read(path)
    if (record.config_hash, record.seed) != (job.key.config_hash, job.key.seed):
        raise UserError(
            f"{path} is the record of another run ({record.recipe}-{record.config_hash}, seed {record.seed}); "
            "move it away"
        )
    return True


def missing_corruptions(job: Job) -> list[str]:
    """Return the corruptions still to be evaluated.

    Raises:
        UserError: the record of the evaluation is damaged, or of other weights than the run's.
    """
    if job.record is None:
        return []
    if not job.record.exists():
        return job.table.evaluation.missing({})
    record = CorruptionRecord.read(job.record)
    record.check_weights()
    return job.table.evaluation.missing(record.top1_errors)


def remaining_commands(job: Job) -> list[list[str]]:
    """Return the commands that finish `job`, in order, each with its arguments.

    Raises:
        UserError: a record is damaged, or another run's: it has to be moved away first.
    """
    needed = [] if trained(job) else [_python("train.py", *job.overrides)]
    return needed + ([evaluation_command(job)] if missing_corruptions(job) else [])


def evaluation_command(job: Job) -> list[str]:
    """Return the command that evaluates the weights of `job` on its benchmark."""
    overrides, root = [*job.overrides], job.config.dataset.options.get("root")
    if root and not any(given.startswith("dataset.root=") for given in overrides):
        overrides.append(override("dataset.root", root))  # the training may have had its images elsewhere
    return _python(*command_of_evaluation(job.directory, job.table.evaluation, job.source, overrides))


def check_data(jobs: Iterable[Job]) -> None:
    """Build every data set that `jobs` train on once, as train.py does.

    Raises:
        UserError: images are missing; otherwise each job would find that out by itself.
    """
    built = set()
    for job in jobs:
        data = job.config.dataset
        place = data.target, data.options.get("root")
        if place not in built and not (job.directory / "summary.json").exists():
            build.dataset(job.config)
            built.add(place)


def alike(failures: Mapping[Job, str]) -> list[str]:
    """Return a line for each reason for which jobs failed."""
    of: dict[str, list[Job]] = {}
    for job, reason in failures.items():
        of.setdefault(reason, []).append(job)
    return [f"{jobs[0]}{f' and {len(jobs) - 1} more' * (len(jobs) > 1)}: {reason}" for reason, jobs in of.items()]


def obstacles(jobs: Iterable[Job]) -> list[str]:
    """Return a sentence about everything that evaluations of `jobs` would miss, with the remedy."""
    of_jobs = {(job.table.evaluation, job.source, job.config.dataset.options.get("root")) for job in jobs}
    found: list[str] = []
    for evaluation, source, root in sorted(of_jobs, key=str):
        if evaluation is None:
            continue
        benchmark, corrupted_set = evaluation.benchmark, find_set(evaluation.benchmark)
        folder = Path(root or "data", corrupted_set.folder).expanduser()
        if source == "generate":
            for name, reason in unavailable(evaluation.corruptions, corrupted_set.constants).items():
                found.append(f"{name} of {benchmark} cannot be generated on this machine: {reason}")
        elif not folder.is_dir():
            found.append(
                f"there is no folder {folder} with the images of {benchmark}; download it or give source=generate"
            )
    return found


def _python(script: str, *arguments: str) -> list[str]:
    return [_from_here(Path(sys.executable)), _from_here(ROOT / script), *arguments]


def _from_here(path: Path) -> str:
    """Return the path as short as it can be typed here, links unresolved (as of a virtual environment's Python)."""
    return str(path.relative_to(os.getcwd())) if path.is_relative_to(os.getcwd()) else str(path)
