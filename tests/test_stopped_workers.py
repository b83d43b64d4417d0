"""A training whose workers deliver nothing, as a user meets it: stopped processes, storage that does not answer."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.commands import ROOT, Command, python
from tests.mistakes import one_line
from tests.training.test_lost_ranks import process_of


@pytest.fixture
def options(class_folder, tmp_path):
    root = class_folder(("ant", "bee"), train=20, val=2)
    return [
        *["dataset=folder", "dataset.name=insects", f"dataset.root={root}", "dataset.workers=2"],
        *["dataset.image_size=16", "dataset.resize=20", "dataset.cutout_size=8"],
        *["model=pyramidnet200", "model.name=small", "model.depth=20", "model.alpha=8", "mixing=smoothmix_c"],
        *["recipe=cifar", "recipe.batch_size=2", "recipe.epochs=8", "recipe.decay_epochs=[]", "recipe.lr=0.01"],
        *["log_every=1", "device=cpu", f"output={tmp_path / 'outputs'}"],
    ]


def stop_workers_after_an_epoch(process, folder):
    """Send SIGSTOP to what the function `process` says has workers, once the run has metrics; return the workers."""
    until = time.monotonic() + 120
    while not any(path.stat().st_size for path in folder.rglob("metrics.jsonl")):
        assert time.monotonic() < until
        time.sleep(0.01)
    pid = process()
    listed = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")]  # a thread started them
    workers = list(map(int, " ".join(listed).split()))
    assert len(workers) == 4  # of training, and of evaluation
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    return workers


def test_a_signal_while_no_batch_comes_saves_and_the_run_resumes_to_the_same_weights(options, tmp_path):
    process = Command("train.py", *options, merged=True)
    workers = stop_workers_after_an_epoch(lambda: process.pid, tmp_path / "outputs")
    time.sleep(2)  # what was prefetched is used up
    process.send_signal(signal.SIGTERM)
    try:
        output, _ = process.communicate(timeout=60)  # kills the process itself
        assert process.returncode == 128 + signal.SIGTERM, output
        assert re.search(r"^SIGTERM: saved epoch \d+, step \d+ of 20, in ", output, re.MULTILINE), output
        assert "Traceback" not in output
        assert not any(Path("/proc", str(worker), "fd").exists() for worker in workers)
    except BaseException:
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        raise

    for again in (options, [*options[:-1], f"output={tmp_path / 'unbroken'}"]):
        assert python("train.py", *again).returncode == 0
    (one,), (other,) = (list((tmp_path / name).rglob("last.pt")) for name in ("outputs", "unbroken"))
    one, other = (torch.load(path, weights_only=True)["model"] for path in (one, other))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


SHORT_LIMIT = """
import datasets.loader, train
from smoothmix.config.command_line import command
datasets.loader.LIMIT = 4.0
command("train", train.main)
"""


@pytest.mark.slow
def test_a_rank_whose_workers_deliver_nothing_says_so_and_ends_and_the_other_names_it(options, tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--no-python"]
    process = Command(*torchrun, sys.executable, "-c", SHORT_LIMIT, *options, "recipe.epochs=1000")
    workers = stop_workers_after_an_epoch(lambda: process_of(1, process.pid), tmp_path / "outputs")
    stopped = time.monotonic()
    _, complaint = process.communicate(timeout=60)
    assert time.monotonic() - stopped < 30
    assert process.returncode == 1
    ours, theirs = re.findall(r"^error .*", complaint, re.MULTILINE)
    one_line(ours, "[rank 1]", "2 workers", "4 seconds")
    one_line(theirs, "[rank 0]", "rank 1 of 2", "again")
    assert not any(Path("/proc", str(worker), "fd").exists() for worker in workers)


def test_too_few_open_files_for_the_workers_are_one_sentence_and_nobody_waits(options):
    """With 24 a worker failed to send its batch, and the training waited for it."""
    script = f"ulimit -n 24; exec {shlex.join([sys.executable, 'train.py', *options])}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    one_line(done.stderr[:-1], "2 workers", 24, "ulimit -n")
