import multiprocessing
import os
import subprocess
import sys
import textwrap
import time
import weakref
from pathlib import Path

import pytest
import torch

from datasets import class_folders
from datasets.loader import batches_on, stop_workers

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"image_size": 16, "resize": 20}


def run_script(script: str, *arguments: object, timeout: float) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def test_signals_to_the_process_group_do_not_reach_the_workers(folder_root):
    done = run_script(
        """
        import os, signal, subprocess, sys
        from datasets import class_folders

        caught = []
        data = class_folders(sys.argv[1], image_size=16, resize=20, workers=2)
        batches = data.train_batches(1, seed=0)
        count = 0
        for images, labels in batches.epoch(0):
            count += len(labels)
            if count == 3:
                # only now, so that the workers did not inherit the handlers
                for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
                    signal.signal(name, lambda number, frame: caught.append(number))
                for name in ("INT", "TERM", "USR2"):
                    subprocess.run(["kill", "-s", name, "--", f"-{os.getpgid(0)}"], start_new_session=True)
        print(count, len(caught))
        """,
        folder_root,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["21", "3"]


@pytest.mark.parametrize("ending", ["pass", "raise ValueError('a bug')", "sys.exit(3)"])
def test_a_program_that_ends_in_the_middle_of_an_epoch_ends_soon(folder_root, ending):
    start = time.monotonic()
    done = run_script(
        f"""
        import multiprocessing, sys
        from datasets import class_folders

        data = class_folders(sys.argv[1], image_size=16, resize=20, workers=2)
        train, test = data.train_batches(1, seed=0), data.eval_batches("test", 1)
        epochs = [train.epoch(0), iter(test)]
        for epoch in epochs:
            next(epoch)
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
        {ending}
        """,
        folder_root,
        timeout=60,
    )
    assert done.returncode == {"pass": 0, "sys.exit(3)": 3}.get(ending, 1), done.stderr
    assert time.monotonic() - start < 30
    workers = [int(pid) for pid in done.stdout.split()]
    assert len(workers) == 4
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_workers_end_when_the_parent_says_so(folder_root):
    batches = class_folders(folder_root, workers=2, **SMALL).train_batches(1, seed=0)
    epoch = batches.epoch(0)
    next(epoch)
    first, second = multiprocessing.active_children()
    first.terminate()
    first.join(timeout=10)
    assert first.exitcode == 0
    stop_workers(weakref.ref(batches.loader))
    second.join(timeout=10)
    assert second.exitcode == 0
    assert not multiprocessing.active_children()


def test_workers_end_with_their_batches(folder_root):
    batches = class_folders(folder_root, workers=2, **SMALL).train_batches(1, seed=0)
    epoch = batches.epoch(0)
    next(epoch)
    assert len(multiprocessing.active_children()) == 2
    del epoch, batches
    assert not multiprocessing.active_children()


class OnStream:
    """A tensor's stand-in that writes down on which stream it is copied and used."""

    def __init__(self, log):
        self.log = log

    def to(self, device, non_blocking):
        assert non_blocking
        self.log.append(f"copy to {device} on {self.log.stream}")
        return self

    def record_stream(self, stream):
        self.log.append(f"in use on {stream}")


class Log(list):
    stream = "main"


def test_batches_cross_to_a_gpu_on_a_stream_of_their_own(monkeypatch):
    log = Log()

    class Stream(str):
        def wait_stream(self, other):
            log.append(f"{self} waits for {other}")

    class Switch:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            log.stream = self.stream

        def __exit__(self, *error):
            log.stream = "main"

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("aside"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(log.stream))
    monkeypatch.setattr(torch.cuda, "stream", Switch)
    for _ in batches_on([(OnStream(log),), (OnStream(log),)], torch.device("cuda", 1)):
        log.append("step")
    one = ["copy to cuda:1 on aside", "main waits for aside", "in use on main", "step"]
    assert log == one * 2
