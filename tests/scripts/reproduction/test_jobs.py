"""Which runs a table needs, how far each is, and what finishes it."""

import fcntl
import hashlib
import os
import sys

import pytest

from scripts.reproduction.jobs import (
    alike,
    distinct,
    jobs_of,
    missing_corruptions,
    obstacles,
    remaining_commands,
    state,
)
from scripts.reproduction.tables import load_table, table_runs
from smoothmix.config.run_directory import run_directory
from smoothmix.corruptions import CORRUPTIONS
from smoothmix.evaluation.robustness import lock
from tests.mistakes import one_line, refused
from tests.scripts import hand_made


def evaluate(job, names=tuple(CORRUPTIONS), severities=5, weights=b"best"):
    errors = {name: {str(severity): 1.0 for severity in range(1, severities + 1)} for name in names}
    digest = hashlib.sha256(weights).hexdigest()[:16]
    hand_made.write_corrupted(job.directory, job, "digits_c", errors, "generate-80", weights_sha256=digest)
    (job.directory / "best.pt").write_bytes(b"best")


def test_states_of_a_training(table_6, leave):
    job, other, *_ = table_6()
    assert state(job) == ("missing", "")
    leave.checkpoint(job)
    assert state(job) == ("unfinished", "")
    job.failure.write_text("out of memory\n")
    assert state(job) == ("failed", "out of memory")
    with open(job.directory / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert state(job) == ("running", "")
    assert state(job)[0] == "failed"  # the lock went with its holder
    leave.summary(job)
    assert state(job) == ("done", "")
    assert state(other) == ("missing", "")


def test_a_job_whose_log_is_locked_is_running_before_it_has_a_directory(table_6):
    job = table_6()[0]
    job.log.parent.mkdir(parents=True)
    with open(job.log, "w") as log:
        assert state(job)[0] == "missing"
        fcntl.flock(log, fcntl.LOCK_EX)
        assert state(job)[0] == "running"


def test_a_job_whose_evaluation_is_under_way_is_running(demo, leave):
    job = demo[0]
    leave.summary(job)
    assert state(job)[0] == "unfinished"
    with lock(job.record):
        assert state(job)[0] == "running"
    evaluate(job, severities=4)
    assert state(job)[0] == "unfinished"


def test_asking_leaves_the_lock_free(table_6, leave):
    job = table_6()[0]
    leave.checkpoint(job)
    (job.directory / ".lock").touch()
    assert state(job)[0] == "unfinished"
    with open(job.directory / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("record", ['{"seed": 0}', {"seed": 1}, {"config_hash": "00000000"}])
def test_a_record_that_does_not_count_is_a_failure_with_a_remedy(table_6, leave, record):
    job = table_6()[0]
    leave.summary(job, **record if isinstance(record, dict) else {})
    if isinstance(record, str):
        (job.directory / "summary.json").write_text(record)
    kind, why = state(job)
    assert kind == "failed"
    one_line(why, job.directory / "summary.json", "move it away")
    with refused(job.directory / "summary.json"):
        remaining_commands(job)


def test_with_a_benchmark_a_run_is_done_when_every_cell_is_there(demo, leave):
    job = demo[3]
    evaluation = remaining_commands(job)[1]
    assert evaluation[1].endswith("eval_corruption.py")
    assert evaluation[2:] == [f"run={job.directory}", "benchmark=digits_c", "source=generate", "images=80"]
    leave.summary(job)
    assert state(job) == ("unfinished", "")
    assert remaining_commands(job) == [evaluation]
    evaluate(job, severities=4)
    assert state(job)[0] == "unfinished"
    evaluate(job, names=list(CORRUPTIONS)[:-1])
    assert state(job)[0] == "unfinished"
    evaluate(job)
    assert state(job) == ("done", "")
    assert remaining_commands(job) == []
    evaluate(job, weights=b"of an earlier epoch")
    one_line(state(job)[1], job.record, "weights")
    job.record.write_text("{}")
    one_line(state(job)[1], job.record)


def test_commands_name_the_run_itself(table_6):
    for job in table_6(2, "device=cpu", "+model.drop_path_rate=0.25"):
        (command,) = remaining_commands(job)
        assert os.path.abspath(command[0]) == sys.executable
        assert command[1].endswith("train.py")
        assert command[-1] == f"seed={job.config.seed}"
        again = table_runs(load_table("6"), overrides=tuple(command[3:-1]), seeds=job.config.seed + 1)
        assert job.directory in [run.directory for run in again]
        assert run_directory(job.config) == job.directory


def test_the_evaluation_looks_for_images_where_the_overrides_say():
    table = load_table("4")
    overrides = ("dataset.root=/my data", "device=cuda", "precision=bf16")
    job = jobs_of(table, table_runs(table, overrides=overrides, seeds=1))[0]
    assert remaining_commands(job)[1][4:] == ["dataset.root=/my data", "device=cuda"]


def test_a_run_of_two_tables_is_one_job_with_the_evaluation():
    jobs = [job for name in ("1", "4") for job in jobs_of(load_table(name), table_runs(load_table(name), seeds=2))]
    once = distinct(jobs)
    assert len(jobs) == 24
    assert len(once) == len({job.directory for job in jobs}) == 20
    assert {str(job) for job in once if job.table.benchmark} == {
        f"{row} seed {seed}" for row in ("cutmix", "smoothmix_c") for seed in (0, 1)
    }
    assert len(distinct(reversed(jobs))) == 20
    assert sum(job.table.benchmark is not None for job in distinct(reversed(jobs))) == 4


def test_overrides_that_contradict_the_table_are_one_sentence():
    table = load_table("4")
    with refused("cifar100_c", "cifar100", "digits"):
        jobs_of(table, table_runs(table, "quick", ("dataset=digits",)))
    with refused("Baseline", "Cutout", "demo"):
        jobs_of(load_table("demo"), table_runs(load_table("demo"), overrides=("mixing=cutmix",)))
    with refused("'web'"):
        jobs_of(table, table_runs(table), "web")


def test_a_corruption_that_cannot_be_generated_is_named_and_waited_for(demo, leave, monkeypatch):
    monkeypatch.setattr("scripts.reproduction.jobs.unavailable", lambda *_: {"frost": "install photographs"})
    leave.summary(demo[0])
    evaluate(demo[0], [name for name in CORRUPTIONS if name != "frost"])
    assert state(demo[0])[0] == "unfinished"
    assert missing_corruptions(demo[0]) == ["frost"]
    one_line(*obstacles(demo), "frost", "digits_c", "install photographs")


def test_files_that_are_not_there_are_named(tmp_path):
    table = load_table("4")
    jobs = jobs_of(table, table_runs(table, overrides=(f"dataset.root={tmp_path}",)))
    (sentence,) = obstacles(jobs)
    one_line(sentence, tmp_path / "CIFAR-100-C", "cifar100_c")
    (tmp_path / "CIFAR-100-C").mkdir()
    assert obstacles(jobs) == []


def test_jobs_that_failed_alike_share_a_line(table_6):
    first, second, third, _ = table_6()
    lines = alike({first: "no space", second: "no luck", third: "no space"})
    assert lines == [f"{first} and 1 more: no space", f"{second}: no luck"]
