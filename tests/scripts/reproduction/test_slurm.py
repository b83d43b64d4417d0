"""Submitting to SLURM, with an sbatch of our own that writes down what it is given, and an squeue that reads it."""

import os
import shlex
import subprocess

import pytest

from scripts.reproduction import slurm
from scripts.reproduction.jobs import ROOT
from scripts.reproduction.launch import launch
from scripts.reproduction.slurm import queued, submit, training_name
from tests.mistakes import refused

SBATCH = """#!/bin/bash
case "$*" in *--refuse*) echo "sbatch: about" >&2; echo "sbatch: error: no such partition" >&2; exit 1;; esac
[ -f train.py ] || exit 2
number=$((100 + $(cat "$SUBMITTED" 2>/dev/null | wc -l)))
printf '%q ' "$@" >> "$SUBMITTED"; echo >> "$SUBMITTED"
for word in "$@"; do case $word in --job-name=*) echo "${word#--job-name=} $number" >> "$QUEUE";; esac; done
echo "$number;cluster"
"""


@pytest.fixture
def program(tmp_path):
    """Write a program of this name into the folder that PATH begins with in `cluster`."""

    def write(name, text):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    return write


@pytest.fixture
def cluster(tmp_path, monkeypatch, program):
    """Return (a function that gives what was submitted, a list of overrides each; the file of the queue)."""
    program("sbatch", SBATCH)
    program("squeue", '#!/bin/sh\n[ "$1" = --me ] && cat "$QUEUE" 2>/dev/null; true\n')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SUBMITTED", str(tmp_path / "submitted"))
    monkeypatch.setenv("QUEUE", str(tmp_path / "queue"))
    monkeypatch.chdir(ROOT)

    def submitted():
        lines = (tmp_path / "submitted").read_text().splitlines() if (tmp_path / "submitted").exists() else []
        return [shlex.split(line) for line in lines]

    return submitted, tmp_path / "queue"


def test_each_missing_run_is_submitted_once(table_6, leave, cluster, capsys):
    submitted, queue = cluster
    jobs = table_6()
    leave.summary(jobs[1])
    leave.checkpoint(jobs[2])
    assert submit(jobs, ["--partition=gpu", "--time=1:00:00"]) == 3
    options = ["--parsable", "--partition=gpu", "--time=1:00:00"]
    script = ["--dependency=singleton", str(slurm.SCRIPT), "train.py"]
    expected = [
        [*options, f"--job-name={training_name(job)}", *script, *job.overrides] for job in (jobs[0], jobs[2], jobs[3])
    ]
    assert submitted() == expected
    assert queued() == {training_name(job): str(100 + place) for place, job in enumerate((jobs[0], jobs[2], jobs[3]))}
    assert f"CutMix seed 0: training submitted as job 100 ({training_name(jobs[0])})" in capsys.readouterr().out
    assert submit(jobs, []) == 0
    queue.write_text("")  # they ended, without a record
    assert submit(jobs, []) == 3


def test_nothing_is_submitted_without_the_images(cluster, tmp_path):
    submitted, _ = cluster
    with refused(tmp_path, "scripts/download.py"):
        launch(["table=1", "launcher=slurm", f"dataset.root={tmp_path}", f"output={tmp_path}"])
    assert submitted() == []


def test_the_evaluation_comes_after_its_training(demo, leave, cluster):
    submitted, queue = cluster
    job, trained = demo[:2]
    leave.summary(trained)
    assert submit([job, trained], []) == 3
    training, evaluation, alone = submitted()
    assert training[2] == "--dependency=singleton"
    assert evaluation[1:4] == [
        f"--job-name={training_name(job)}-digits_c", "--dependency=afterok:100", "--kill-on-invalid-dep=yes"
    ]  # fmt: skip
    assert evaluation[4:6] == [str(slurm.SCRIPT), "eval_corruption.py"]
    assert evaluation[6:] == [f"run={job.directory}", "benchmark=digits_c", "source=generate", "images=80"]
    assert not any("afterok" in word for word in alone)
    assert submit([job, trained], []) == 0
    queue.write_text(f"{training_name(job)} 7\n")  # the training alone is there: its evaluation is what lacks
    assert submit([job], []) == 1
    assert "--dependency=afterok:7" in submitted()[-1]


def test_names_belong_to_run_directories(table_6):
    jobs = table_6(5)
    assert len({training_name(job) for job in jobs}) == 10
    assert training_name(jobs[0]).startswith("cutmix-seed0-")
    assert [training_name(job) for job in table_6(5)] == [training_name(job) for job in jobs]


def test_mistakes_are_one_sentence(table_6, cluster, tmp_path, monkeypatch):
    jobs = table_6(1)
    with refused("no such partition"):
        submit(jobs, ["--refuse"])
    monkeypatch.chdir(tmp_path)
    with refused(ROOT):
        submit(jobs, [])
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", str(tmp_path))
    with refused("squeue", "launcher=local"):
        submit(jobs, [])


@pytest.mark.parametrize(
    ("status", "now", "said", "left"),
    [
        (1, "RUNNING", "error [rank 0]: no images\nTraceback\n", "no images (job 7; see {log})\n"),
        (1, "RUNNING", "epoch 1\n", "exit status 1 (job 7; see {log})\n"),
        (0, "RUNNING", "", None),
        (1, "CANCELLED", "error: no images\n", None),
    ],
)
def test_a_failed_job_leaves_why(cluster, program, tmp_path, monkeypatch, status, now, said, left):
    log = tmp_path / "7.out"
    log.write_text(said)
    program("srun", f"#!/bin/sh\nexit {status}\n")
    program("squeue", f"#!/bin/sh\necho {now}\n")
    program("scontrol", f'#!/bin/sh\necho "JobId=7"; echo "   StdOut={log}"\n')
    failure = tmp_path / "run" / "failed.txt"
    failure.parent.mkdir()
    failure.write_text("of the attempt before\n")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SMOOTHMIX_FAILURE", str(failure))
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "1")
    assert subprocess.run(["bash", slurm.SCRIPT, "eval_corruption.py"]).returncode == status
    assert (failure.read_text() if failure.exists() else None) == (left and left.format(log=log))


def test_the_scripts_are_told_where_to_leave_it(table_6, cluster, program):
    program("sbatch", '#!/bin/sh\necho "$SMOOTHMIX_FAILURE" >> "$SUBMITTED"; echo 1\n')
    jobs = table_6(1)
    submit(jobs, [])
    submitted, _ = cluster
    assert submitted() == [[str(job.failure)] for job in jobs]
