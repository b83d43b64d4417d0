"""A rank that is killed or hangs: the others say which and end; torchrun starts all again, to the unbroken end."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

import pytest
import torch

from smoothmix.utils.distributed import GRACE, init_distributed, is_lost_rank
from tests import commands
from tests.mistakes import refused
from tests.training.runs import state_of

ROOT = Path(__file__).parents[2]
TIMEOUT = 5
QUICK = ["recipe.epochs=4", "recipe.decay_epochs=[]", "recipe.batch_size=192", "model.depth=8", "model.alpha=3"]
QUICK += ["mixing=smoothmix_c", "dataset.val_split=900", "checkpoint_every=1", f"timeout={TIMEOUT}"]


def start(ranks, output, *options):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}", *options]
    command += ["train.py", *QUICK, f"output={output}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
    return subprocess.Popen(command, cwd=ROOT, text=True, **pipes)


def process_of(rank, launcher):
    """Return the process of a rank among the children of torchrun."""
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"\0RANK={rank}\0" in Path(f"/proc/{child}/environ").read_text():
            return int(child)
    raise AssertionError(f"torchrun has no rank {rank}")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Return a function: number of ranks -> state that they come to."""

    @cache
    def of(ranks):
        output = tmp_path_factory.mktemp("unbroken")
        assert commands.ranks(ranks, "train.py", *QUICK, f"output={output}", timeout=120).returncode == 0
        return state_of(output)

    return of


def lose(victim, number, ranks, output, *options):
    """Send a signal to one rank after the first epoch; the others have to name it. Return torchrun's exit status."""
    process = start(ranks, output, *options)
    complaints, heard, said = [], [], []

    def listen():
        for line in process.stderr:
            said.append(line)
            if " of " in line and "has ended or hangs" in line:
                complaints.append(line)
                heard.append(time.monotonic())

    listener = threading.Thread(target=listen)
    listener.start()
    assert any(line.startswith("epoch 1/") for line in process.stdout)
    os.kill(process_of(victim, process.pid), number)
    lost = time.monotonic()
    process.stdout.read()
    process.wait(120)
    listener.join()
    others = {rank for rank in range(ranks) if rank != victim}
    pattern = re.compile(r"error \[rank (\d)\]: rank (\d) of (\d) has ended or hangs \(.*\); run the same .*\n")
    assert all(map(pattern.fullmatch, complaints)), "".join(said)
    heard_of = {tuple(map(int, pattern.fullmatch(line).groups())) for line in complaints}
    assert heard_of == {(rank, victim, ranks) for rank in others}, "".join(said)
    bound = GRACE + (TIMEOUT if number == signal.SIGSTOP else 0)
    assert max(heard) - lost < bound + 3  # for a busy machine
    return process.returncode


def test_the_other_rank_says_which_is_lost(tmp_path):
    assert lose(1, signal.SIGKILL, 2, tmp_path) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "victim", "number"),
    [
        (ranks, victim, number)
        for ranks in (2, 3)
        for victim in range(ranks)
        for number in (signal.SIGKILL, signal.SIGSTOP)
    ],
)
def test_torchrun_starts_all_ranks_again(tmp_path, unbroken, ranks, victim, number):
    assert lose(victim, number, ranks, tmp_path, "--max-restarts=1") == 0
    tensors, rows = unbroken(ranks)
    ended_tensors, ended_rows = state_of(tmp_path)
    assert len(ended_tensors) == len(tensors)
    assert all(map(torch.equal, ended_tensors, tensors))
    assert ended_rows == rows


def test_what_tells_of_a_lost_rank():
    assert is_lost_rank(torch.distributed.DistBackendError("NCCL communicator was aborted"))
    assert is_lost_rank(RuntimeError("[/gloo/transport/tcp/pair.cc:547] Connection closed by peer"))
    assert is_lost_rank(RuntimeError("Application timeout caused pair closure"))
    assert not is_lost_rank(RuntimeError("size mismatch"))
    assert not is_lost_rank(ValueError("gloo"))


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_is_no_time_is_refused(timeout):
    with refused("timeout", timeout):
        init_distributed("cpu", timeout)
