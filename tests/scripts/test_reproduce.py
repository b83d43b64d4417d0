"""scripts/reproduce.py as a user types it, on digits and a network of 900 parameters."""

import fcntl
import json
import os
import re
import shlex
import signal
import sys
from functools import partial

import pytest

from scripts.reproduction.jobs import jobs_of
from scripts.reproduction.tables import load_table, table_runs
from tests.commands import ROOT, Command, python, said, wait_until

REPRODUCE = "scripts/reproduce.py"
TINY = ("dataset=digits", "model.depth=8", "model.alpha=3")
reproduce = partial(python, REPRODUCE)


def quick_jobs(output, table="7", seeds=1):
    runs = table_runs(load_table(table), "quick", (*TINY, f"output={output}"), seeds)
    return jobs_of(load_table(table), runs)


def trained_once(job):
    """Whether the run was begun and trained exactly once, by its log and its metrics."""
    log = job.log.read_text()
    epochs = [json.loads(line)["epoch"] for line in (job.directory / "metrics.jsonl").read_text().splitlines()]
    return log.count("train.py") == log.count("run directory:") == log.count("epoch 1/1") == 1 and epochs == [1]


def test_killed_in_the_middle_and_started_again(tmp_path):
    """A table of four rows: the launcher is killed while the second trains, the third has a damaged record."""
    first, second, third, fourth = jobs = quick_jobs(tmp_path)
    third.directory.mkdir(parents=True)
    (third.directory / "summary.json").write_text('{"seed": ')
    overrides = ("table=7", "preset=quick", *TINY, f"output={tmp_path}")
    process = Command("scripts/reproduce.py", *overrides)
    wait_until(lambda: (second.directory / ".lock").exists())
    process.kill()
    assert process.wait() == -signal.SIGKILL
    before = (first.directory / "summary.json").stat().st_mtime_ns
    assert not (second.directory / "summary.json").exists()

    done = reproduce(*overrides)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "running elsewhere" in done.stdout or "4 runs: 2 done" in done.stdout
    assert "1 of 2 failed (" in done.stdout
    assert f"{third.directory}/summary.json" in done.stdout
    assert (fourth.directory / "summary.json").exists()
    assert "Traceback" not in done.stdout + done.stderr

    with open(second.log) as log:
        fcntl.flock(log, fcntl.LOCK_EX)  # the run that outlived its launcher has ended
    (third.directory / "summary.json").unlink()
    done = reproduce(*overrides)
    assert done.returncode == 0, done.stdout
    assert re.findall(r"\d+", done.stdout.splitlines()[0]) == ["4", "3", "0", "1"]  # runs, done, elsewhere, to run
    assert all(trained_once(job) for job in jobs)
    assert (first.directory / "summary.json").stat().st_mtime_ns == before

    status, printed, _ = said(REPRODUCE, *overrides, "--status")
    assert status == 0
    assert "4 of 4 runs are done" in printed
    assert re.search(r"^ *7 +SmoothMix +1/1( +-){5} +0\.000 ", printed, re.M)


def test_print_gives_the_commands_alone(tmp_path):
    overrides = ("table=6", "preset=quick", *TINY, f"output={tmp_path}", "seeds=2")
    status, printed, complaint = said(REPRODUCE, *overrides, "launcher=print", folder=ROOT)
    assert (status, complaint) == (0, "")
    python = os.path.relpath(sys.executable, ROOT) if sys.executable.startswith(f"{ROOT}/") else sys.executable
    expected = [
        [python, "train.py", f"experiment=cifar100/{name}", "model=pyramidnet8", "recipe=quick", *TINY]
        + [f"output={tmp_path}", f"seed={seed}"]
        for seed in (0, 1)
        for name in ("cutmix", "smoothmix_c")
    ]
    assert [shlex.split(line) for line in printed.splitlines()] == expected
    assert list(tmp_path.iterdir()) == []


def test_no_slurm_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    complaint = "error: there is no squeue on this machine; use launcher=local or launcher=print\n"
    assert said(REPRODUCE, "table=6", "launcher=slurm", f"output={tmp_path}") == (2, "", complaint)


@pytest.mark.slow
def test_sigterm_saves_and_the_next_start_resumes(tmp_path):
    overrides = ("table=6", *TINY, "model=pyramidnet8", "recipe=demo", "seeds=1", f"output={tmp_path}", "jobs=2")
    process = Command("scripts/reproduce.py", *overrides)
    wait_until(lambda: len(list(tmp_path.rglob("metrics.jsonl"))) == 2 and len(list(tmp_path.rglob("last.pt"))) == 2)
    process.terminate()
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGTERM
    assert said.count("resume") == 2
    logs = list(tmp_path.rglob("seed0.log"))
    assert all("SIGTERM: saved" in log.read_text() for log in logs)
    assert re.search(r"( +-){3} +1/1 ", reproduce(*overrides, "--status").stdout)
    assert reproduce(*overrides).returncode == 0
    for log in logs:  # each epoch was finished by one of the two starts
        assert [log.read_text().count(f"\nepoch {epoch}/12 ") for epoch in range(1, 13)] == [1] * 12
