"""Running jobs here: order, failures, locks, signals. Small shell commands stand for the trainings."""

import fcntl
import json
import os
import shlex
import signal
import threading

import pytest
import torch

from scripts.reproduction import local
from scripts.reproduction.local import run_locally
from tests.commands import wait_until
from tests.mistakes import one_line


@pytest.fixture
def acts(monkeypatch, leave):
    """Return a function that sets what each job's commands do: shell text, in which $FINISH leaves the record."""

    def set_commands(scripts):
        def commands(job):
            path = shlex.quote(str(job.directory))
            finish = f"mkdir -p {path}; echo {shlex.quote(json.dumps(leave.record(job)))} > {path}/summary.json"
            return [["sh", "-c", text.replace("$FINISH", finish)] for text in scripts[job]]

        monkeypatch.setattr(local, "remaining_commands", commands)

    return set_commands


def test_the_others_go_on_after_a_failed_run(table_6, acts, capsys):
    jobs = table_6()
    fails = {jobs[1]: ["echo one", "echo 'error: no luck'; echo; exit 3"]}
    acts({job: ["echo working; $FINISH"] for job in jobs} | fails)
    states, number = run_locally(jobs)
    assert number == 0
    assert list(states) == jobs
    assert [kind for kind, _ in states.values()] == ["done", "failed", "done", "done"]
    assert states[jobs[1]][1] == "no luck (exit status 3)"
    assert jobs[1].failure.read_text() == "no luck (exit status 3)\n"
    lines = capsys.readouterr().out.splitlines()
    one_line(lines[2], "[2/4] ", str(jobs[1]), jobs[1].log)
    one_line(lines[3], "[2/4] ", str(jobs[1]), "no luck (exit status 3)")
    assert [line.split()[0] for line in lines] == [f"[{number}/4]" for number in (1, 1, 2, 2, 3, 3, 4, 4)]

    acts({jobs[1]: ["$FINISH"]})
    assert run_locally(jobs[1:2])[0] == {jobs[1]: ("done", "")}
    assert not jobs[1].failure.exists()
    printed = [line for line in jobs[1].log.read_text().splitlines() if not line.startswith("$")]
    assert printed == ["one", "error: no luck", ""]


def test_a_link_in_the_place_of_a_log_is_not_written_through(table_6, acts, tmp_path):
    first, second, *_ = table_6()
    (tmp_path / "diary").write_text("mine")
    first.log.parent.mkdir(parents=True)
    first.log.symlink_to(tmp_path / "diary")
    acts({job: ["echo working; $FINISH"] for job in (first, second)})
    states, _ = run_locally([first, second])
    assert states[first][0] == "failed"
    one_line(states[first][1], first.log)
    assert states[second] == ("done", "")
    assert (tmp_path / "diary").read_text() == "mine"


def test_the_last_line_is_of_the_command_that_failed(table_6, acts):
    jobs = table_6(3)[:3]
    acts({jobs[0]: ["echo fine", "exit 7", "$FINISH"], jobs[1]: ["echo busy; kill -KILL $$"], jobs[2]: ["echo ended"]})
    states, _ = run_locally(jobs)
    assert [kind for kind, _ in states.values()] == ["failed"] * 3
    for job, words in zip(jobs, (["exit status 7"], ["SIGKILL"], ["summary.json", jobs[2].log]), strict=True):
        one_line(states[job][1], *words)


def meet(tmp_path, number, others):
    """Shell text that waits up to ten seconds for the `others`, and fails without them."""
    wait = " && ".join(f"[ -e {tmp_path}/{other} ]" for other in others)
    return f"touch {tmp_path}/{number}; for i in $(seq 200); do {wait} && break; sleep 0.05; done; {wait} || exit 1"


def test_several_at_once_and_a_gpu_for_each(table_6, acts, tmp_path, monkeypatch):
    jobs = table_6()[:3]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7")
    # the first meets the second, then goes on until the third is there: which has the second's GPU
    acts(
        {
            jobs[0]: [f"echo gpu $CUDA_VISIBLE_DEVICES; {meet(tmp_path, 0, [1, 2])}; $FINISH"],
            jobs[1]: [f"echo gpu $CUDA_VISIBLE_DEVICES; {meet(tmp_path, 1, [0])}; $FINISH"],
            jobs[2]: [f"echo gpu $CUDA_VISIBLE_DEVICES; {meet(tmp_path, 2, [0, 1])}; $FINISH"],
        }
    )
    states, _ = run_locally(jobs)
    assert [kind for kind, _ in states.values()] == ["done"] * 3
    used = [job.log.read_text().splitlines()[1] for job in jobs]
    assert sorted(used[:2]) == ["gpu 5", "gpu GPU-7"]
    assert used[2] == used[1]


def test_on_a_cpu_one_at_a_time_or_a_share_of_the_cores(table_6, acts, tmp_path, monkeypatch):
    jobs = table_6(2, "device=cpu")[:2]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    text = "echo threads=$OMP_NUM_THREADS gpus=$CUDA_VISIBLE_DEVICES; "
    alone = f"[ ! -e {tmp_path}/busy ] && touch {tmp_path}/busy && sleep 0.2 && rm {tmp_path}/busy && $FINISH"
    acts({job: [text + alone] for job in jobs})
    assert [kind for kind, _ in run_locally(jobs)[0].values()] == ["done"] * 2
    assert [job.log.read_text().splitlines()[1] for job in jobs] == ["threads= gpus="] * 2
    for job in jobs:
        (job.directory / "summary.json").unlink()
    acts({job: [text + meet(tmp_path, number, [1 - number]) + "; $FINISH"] for number, job in enumerate(jobs)})
    assert [kind for kind, _ in run_locally(jobs, 2)[0].values()] == ["done"] * 2
    assert all("threads=4 gpus=\n" in job.log.read_text() for job in jobs)
    assert local._environment(None, 3)["OMP_NUM_THREADS"] == "2"
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert local._environment(None, 3)["OMP_NUM_THREADS"] == "2"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert local._environment(None, 3)["OMP_NUM_THREADS"] == "7"


def test_what_another_launcher_runs_is_left_to_it(table_6, acts, capsys):
    jobs = table_6(1)
    acts({job: ["$FINISH"] for job in jobs})
    jobs[0].log.parent.mkdir(parents=True)
    with open(jobs[0].log, "w") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        states, _ = run_locally(jobs)
    assert [kind for kind, _ in states.values()] == ["running", "done"]
    assert jobs[0].log.read_text() == ""
    assert not jobs[0].failure.exists()
    one_line(capsys.readouterr().out.splitlines()[0], str(jobs[0]), "elsewhere")


def test_a_run_that_its_command_finds_in_use_runs_elsewhere(table_6, acts):
    (job, _) = table_6(1)
    acts({job: ["exit 2"]})
    job.directory.mkdir(parents=True)
    with open(job.directory / ".lock", "w") as lock:
        # taken between the look and the start, as by a job of a cluster
        acts({job: [f"exec 9<>{job.directory}/.lock; flock 9; (exec sleep 1.5) >/dev/null 2>&1 & exit 2"]})
        states, _ = run_locally([job])
        assert states[job] == ("running", "")
        fcntl.flock(lock, fcntl.LOCK_EX)  # once that process has ended
    assert not job.failure.exists()


def test_the_commands_hold_the_lock_without_the_launcher(table_6, acts):
    job = table_6(1)[0]
    acts({job: ["(sleep 1) & $FINISH"]})  # a command that outlives it
    run_locally([job])
    with open(job.log) as log, pytest.raises(BlockingIOError):
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_runs_and_is_waited_for(table_6, acts, capsys, number):
    jobs = table_6()
    text = "trap 'sleep 0.3; echo saved; exit 143' TERM; echo begun; for i in $(seq 200); do sleep 0.05; done; exit 1"
    acts({job: [text, "echo evaluated"] for job in jobs} | {jobs[1]: [text.replace("143", "0"), "echo evaluated"]})

    def interrupt():
        wait_until(lambda: all(job.log.exists() and "begun\n" in job.log.read_text() for job in jobs[:2]))
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    threading.Thread(target=interrupt, daemon=True).start()
    states, seen = run_locally(jobs, 2)
    assert seen == number
    assert signal.getsignal(number) is before
    assert [kind for kind, _ in states.values()] == ["stopped"] * 4
    assert all(job.log.read_text().endswith("begun\nsaved\n") for job in jobs[:2])
    assert not any(job.log.exists() and job.log.read_text() for job in jobs[2:])
    assert not any(job.failure.exists() for job in jobs)
    assert capsys.readouterr().out.count("resume") == 2
