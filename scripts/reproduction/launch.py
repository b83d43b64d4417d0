"""From the arguments of reproduce.py to its launchers."""

import re
import shlex
import sys
from collections import Counter
from dataclasses import fields

from scripts.reproduction import slurm, status
from scripts.reproduction.jobs import (
    DONE,
    FAILED,
    RUNNING,
    Job,
    alike,
    check_data,
    distinct,
    jobs_of,
    obstacles,
    remaining_commands,
    state,
)
from scripts.reproduction.local import run_locally
from scripts.reproduction.tables import load_table, table_runs
from smoothmix.config.schema import RunConfig
from smoothmix.utils.command import shell_command
from smoothmix.utils.errors import UserError, nearest

DEFAULTS = {
    "table": "", "preset": "paper", "launcher": "local", "seeds": "", "jobs": "", "source": "", "sbatch": ""
}  # fmt: skip
KEYS = {*DEFAULTS, *(field.name for field in fields(RunConfig)), "experiment"}
LAUNCHERS = ("local", "slurm", "print")


def launch(arguments: list[str]) -> int:
    """Launch the jobs, or show their state; return the exit status.

    Raises:
        UserError: an argument cannot be used, or records are in the way.
    """
    own, overrides, show = parse(arguments)
    seeds, at_once = _count(own, "seeds"), _count(own, "jobs")
    jobs = [
        job
        for table in map(load_table, own["table"].split(","))
        for job in jobs_of(table, table_runs(table, own["preset"], tuple(overrides), seeds), own["source"])
    ]
    if show:
        print(status.report(jobs, slurm.queued() if own["launcher"] == "slurm" else ()))
        return 0
    jobs = distinct(jobs)
    for sentence in obstacles(job for job in jobs if state(job)[0] != DONE):
        print(f"note: {sentence}", file=sys.stderr)
    if own["launcher"] == "print":
        return _print(jobs)
    if own["launcher"] == "slurm":
        number = slurm.submit(jobs, shlex.split(own["sbatch"]))
        print(f"{number} job{'s' * (number != 1)} submitted")
        return 0
    return _run(jobs, at_once)


def parse(arguments: list[str]) -> tuple[dict[str, str], list[str], bool]:
    """Return the values of DEFAULTS' keys, the overrides of train.py, and whether --status is there.

    Raises:
        UserError: an argument is none of these, or a value cannot be used.
    """
    own, overrides = dict(DEFAULTS), []
    for word in arguments:
        key, equals, value = word.partition("=")
        if key in own and equals:
            own[key] = value
        elif equals and key not in KEYS and re.fullmatch(r"\w+", key):
            raise UserError(f"unknown key {key}; {nearest(key, KEYS - {'seed'})}")
        elif equals and key != "seed" and not word.startswith("-"):
            overrides.append(word)
        elif word != "--status":
            hint = "give seeds=N" if key == "seed" else "overrides are KEY=VALUE, and --status; see --help"
            raise UserError(f"cannot use {word}: {hint}")
    if not own["table"]:
        raise UserError("which table? Give it, as in table=1 or table=demo")
    if own["launcher"] not in LAUNCHERS:
        raise UserError(f"there is no launcher {own['launcher']}; choose from {', '.join(LAUNCHERS)}")
    return own, overrides, "--status" in arguments


def _count(own: dict[str, str], key: str) -> int | None:
    if not own[key]:
        return None
    if not own[key].isdecimal() or int(own[key]) < 1:
        raise UserError(f"{key} must be a positive number, not {own[key]}")
    return int(own[key])


def _print(jobs: list[Job]) -> int:
    """Print the remaining commands and nothing else; what prevents them goes to stderr."""
    prevented = 0
    for job in jobs:
        try:
            for command in remaining_commands(job) if state(job)[0] != RUNNING else []:
                print(shell_command(command))
        except UserError as error:
            prevented = 1
            print(f"error: {job}: {error}", file=sys.stderr)
    return prevented


def _run(jobs: list[Job], at_once: int | None) -> int:
    check_data(jobs)
    kinds = {job: state(job)[0] for job in jobs}
    counts = Counter(kinds.values())
    waiting = [job for job in jobs if kinds[job] not in (DONE, RUNNING)]
    print(
        f"{len(jobs)} runs: {counts[DONE]} done, {counts[RUNNING]} running elsewhere, {len(waiting)} to run", flush=True
    )
    states, number = run_locally(waiting, at_once)
    failed = {job: reason for job, (kind, reason) in states.items() if kind == FAILED}
    if failed:
        print(f"{len(failed)} of {len(waiting)} failed (the output of each is in the .log beside its directory):")
        print(*(f"  {line}" for line in alike(failed)), sep="\n")
    return 128 + number if number else int(bool(failed))
