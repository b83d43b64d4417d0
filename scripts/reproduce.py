"""Train and evaluate what a table of the paper still needs.

    python scripts/reproduce.py table=1 [preset=quick] [launcher=local] [seeds=3] [jobs=2] [WORDS] [--status]

table=      1 to 8 or demo; several as in table=1,4
preset=     paper (the default) or quick: a small network, one epoch
launcher=   local (the default): on this machine; slurm: submit; print: only print the commands
seeds=      instead of the table's own number
jobs=       with launcher=local, how many at once; one for each GPU by default, one without a GPU
source=     of corrupted images: files (the default) or generate
sbatch=     with launcher=slurm, options for sbatch: sbatch="--partition=gpu --time=24:00:00"
--status    print how far the table is, and launch nothing
Every other word with = goes to train.py: output=results dataset.root=/data precision=bf16
"""

import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.reproduction import local as launch
from scripts.reproduction import slurm, status
from scripts.reproduction.jobs import DONE, FAILED, RUNNING, Job, commands, distinct, jobs_of, state
from scripts.reproduction.tables import load_table, table_runs
from smoothmix.utils.errors import UserError

DEFAULTS = {
    "table": "", "preset": "paper", "launcher": "local", "seeds": "", "jobs": "", "source": "files", "sbatch": ""
}  # fmt: skip
LAUNCHERS = ("local", "slurm", "print")


def main() -> int:
    """Read the overrides, find the jobs, show or launch them; return the exit status."""
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return 0
    own, overrides, show = _parse(sys.argv[1:])
    tables = [load_table(name) for name in own["table"].split(",")]
    seeds, at_once = _count(own, "seeds"), _count(own, "jobs")
    jobs = [
        job
        for table in tables
        for job in jobs_of(table, table_runs(table, own["preset"], tuple(overrides), seeds), own["source"])
    ]
    if show:
        print(status.report(jobs, slurm.queued() if own["launcher"] == "slurm" else ()))
        return 0
    if own["launcher"] == "print":
        return _print(distinct(jobs))
    if own["launcher"] == "slurm":
        print(f"{slurm.submit(distinct(jobs), shlex.split(own['sbatch']))} jobs submitted")
        return 0
    return _run(distinct(jobs), at_once)


def _parse(arguments: list[str]) -> tuple[dict[str, str], list[str], bool]:
    own, overrides = dict(DEFAULTS), []
    for word in arguments:
        key, equals, value = word.partition("=")
        if key in own and equals:
            own[key] = value
        elif equals and key != "seed" and not word.startswith("-"):
            overrides.append(word)
        elif word != "--status":
            hint = "give seeds=N" if key == "seed" else "overrides are KEY=VALUE, and --status; see --help"
            raise UserError(f"cannot use {word}: {hint}")
    if not own["table"]:
        raise UserError("which table? Give it, as in table=1 or table=demo")
    if own["launcher"] not in LAUNCHERS:
        raise UserError(f"there is no launcher {own['launcher']}; there is {', '.join(LAUNCHERS)}")
    return own, overrides, "--status" in arguments


def _count(own: dict[str, str], key: str) -> int | None:
    if not own[key]:
        return None
    if not own[key].isdecimal() or int(own[key]) < 1:
        raise UserError(f"{key} must be a positive number, not {own[key]}")
    return int(own[key])


def _print(jobs: list[Job]) -> int:
    """Print the commands that are missing and nothing else; what stands in their way goes to stderr."""
    blocked = 0
    for job in jobs:
        try:
            for command in commands(job) if state(job)[0] != RUNNING else []:
                print(shlex.join(command))
        except UserError as error:
            blocked = 1
            print(f"error: {job}: {error}", file=sys.stderr)
    return blocked


def _run(jobs: list[Job], at_once: int | None) -> int:
    kinds = {job: state(job)[0] for job in jobs}
    missing = [job for job in jobs if kinds[job] not in (DONE, RUNNING)]
    counts = {kind: sum(found == kind for found in kinds.values()) for kind in (DONE, RUNNING)}
    print(
        f"{len(jobs)} runs: {counts[DONE]} done, {counts[RUNNING]} running elsewhere, {len(missing)} to run", flush=True
    )
    states, number = launch.run_locally(missing, at_once)
    failed = {job: reason for job, (kind, reason) in states.items() if kind == FAILED}
    if failed:
        print(f"{len(failed)} of {len(missing)} failed:")
        for job, reason in failed.items():
            print(f"  {job}: {reason} (output in {job.log})")
    return 128 + number if number else int(bool(failed))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
