"""Submitting jobs to SLURM: each training once, its evaluation after it."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from scripts.reproduction.jobs import (
    DONE,
    ROOT,
    RUNNING,
    Job,
    check_data,
    evaluation_command,
    missing_corruptions,
    state,
    trained,
)
from smoothmix.utils.errors import UserError

SCRIPT = ROOT / "scripts" / "job.sbatch"


def training_name(job: Job) -> str:
    """Return the name of the SLURM job that trains it, a function of the run directory."""
    path = job.directory.absolute()
    return f"{path.parts[-3]}-{path.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def evaluation_name(job: Job) -> str:
    """Return the name of the SLURM job that evaluates it."""
    return f"{training_name(job)}-{job.table.benchmark}"


def queued() -> dict[str, str]:
    """Return the user's waiting and running jobs: their numbers by name.

    Raises:
        UserError: there is no SLURM here, or it does not answer.
    """
    lines = _slurm(["squeue", "--me", "--noheader", "--format=%j %A"]).splitlines()
    return dict(line.rsplit(maxsplit=1) for line in lines if line.strip())


def submit(jobs: list[Job], options: list[str]) -> int:
    """Submit what is missing of `jobs` and not in the queue, with `options` for sbatch; print a line for each.

    A run's evaluation waits for its training, and is dropped if that fails. Jobs that fail say why in `job.failure`.

    Returns:
        how many were submitted.

    Raises:
        UserError: there is no SLURM here, or it refuses; images are missing; a record is damaged; this is not the
            repository's root.
    """
    if Path.cwd() != ROOT:  # the script runs where it was submitted
        raise UserError(f"launcher=slurm works only in the root of the repository: cd {ROOT}")
    waiting, submitted = queued(), 0
    check_data(jobs)
    for job in jobs:
        name, kind = training_name(job), state(job)[0]
        if kind == DONE or (kind == RUNNING and name not in waiting):
            continue
        training = waiting.get(name)
        if not trained(job) and training is None:
            # singleton: of two submitted at the same moment the second waits for the first, and finds the run finished
            training = _sbatch(job, name, options, ["--dependency=singleton"], ["train.py", *job.overrides])
            print(f"{job}: training submitted as job {training} ({name})")
            submitted += 1
        if missing_corruptions(job) and evaluation_name(job) not in waiting:
            after = [f"--dependency=afterok:{training}", "--kill-on-invalid-dep=yes"] if training else []
            number = _sbatch(job, evaluation_name(job), options, after, evaluation_command(job)[1:])
            print(f"{job}: evaluation submitted as job {number} ({evaluation_name(job)})")
            submitted += 1
    return submitted


def _sbatch(job: Job, name: str, options: list[str], dependency: list[str], command: list[str]) -> str:
    """Submit `command`, a script of the root and its arguments; return the number of the job."""
    arguments = ["sbatch", "--parsable", *options, f"--job-name={name}", *dependency, str(SCRIPT), *command]
    return _slurm(arguments, SMOOTHMIX_FAILURE=str(job.failure.absolute())).strip().partition(";")[0]


def _slurm(command: list[str], **environment: str) -> str:
    if shutil.which(command[0]) is None:
        raise UserError(f"there is no {command[0]} on this machine; use launcher=local or launcher=print")
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise UserError(f"{command[0]} refused: {lines[-1] if lines else f'exit status {done.returncode}'}")
    return done.stdout
