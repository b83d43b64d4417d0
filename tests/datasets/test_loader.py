import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import weakref
from pathlib import Path

import pytest
import torch

from datasets import class_folders, loader
from datasets.loader import batches_on, stop_workers
from tests.batches import epoch_of
from tests.mistakes import refused

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
        for labels, *_ in batches.inputs(0):
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


@pytest.mark.parametrize("ending", ["pass", "raise ValueError('a bug')"])
def test_a_program_that_ends_in_the_middle_of_an_epoch_ends_soon(folder_root, ending):
    start = time.monotonic()
    done = run_script(
        f"""
        import multiprocessing, sys
        from datasets import class_folders

        data = class_folders(sys.argv[1], image_size=16, resize=20, workers=2)
        train, test = data.train_batches(1, seed=0), data.eval_batches("test", 1)
        epochs = [train.inputs(0), iter(test)]
        for epoch in epochs:
            next(epoch)
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
        {ending}
        """,
        folder_root,
        timeout=60,
    )
    assert done.returncode == (ending != "pass"), done.stderr
    assert time.monotonic() - start < 30
    workers = [int(pid) for pid in done.stdout.split()]
    assert len(workers) == 4
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_workers_end_when_the_parent_says_so(folder_root):
    batches = class_folders(folder_root, workers=2, **SMALL).train_batches(1, seed=0)
    epoch = batches.inputs(0)
    for _ in range(2):  # one of each worker, which has begun then
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
    epoch = batches.inputs(0)
    next(epoch)
    assert len(multiprocessing.active_children()) == 2
    del epoch, batches
    assert not multiprocessing.active_children()


# ---- workers that are stopped or killed, and too little shared memory


@pytest.fixture
def started(folder_root):
    """An epoch of which one batch was taken, and its two workers."""
    data = class_folders(folder_root, workers=2, **SMALL)
    batches = data.train_batches(1, seed=0)
    epoch = batches.inputs(0)
    next(epoch)
    yield epoch, multiprocessing.active_children()
    del epoch, batches


def test_stopped_workers_end_the_wait(started, monkeypatch):
    epoch, workers = started
    monkeypatch.setattr(loader, "LIMIT", 1.0)
    for worker in workers:
        os.kill(worker.pid, signal.SIGSTOP)
    start = time.monotonic()
    with refused("2 workers", "1 second"):
        list(epoch)
    assert 1 <= time.monotonic() - start < 4  # torch would wait five seconds longer for a batch
    for worker in workers:
        worker.join(10)
        assert worker.exitcode == -signal.SIGKILL


def test_what_a_signal_handler_raises_ends_the_wait(started):
    epoch, workers = started

    def leave(number, frame):
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGUSR2, leave)
    try:
        for worker in workers:
            os.kill(worker.pid, signal.SIGSTOP)
        threading.Timer(1, os.kill, (os.getpid(), signal.SIGUSR2)).start()
        with pytest.raises(SystemExit, match=str(128 + signal.SIGUSR2)):
            list(epoch)
    finally:
        signal.signal(signal.SIGUSR2, before)
    for worker in workers:
        worker.join(10)
        assert worker.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(("name", "words"), [("SIGKILL", ["SIGKILL", "memory"]), ("SIGBUS", ["--shm-size"])])
def test_a_killed_worker_is_one_sentence(started, name, words):
    epoch, (first, _) = started
    os.kill(first.pid, signal.Signals[name])
    with refused(*words):
        list(epoch)


def test_shared_memory_that_is_full_later_is_one_sentence(folder_root, monkeypatch):
    def full(tensor):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    batches = class_folders(folder_root, workers=1, **SMALL).train_batches(1, seed=0)
    with refused("--shm-size=8g", "No space left"):
        next(batches.inputs(0))


def test_a_long_folder_for_temporary_files_is_said_at_the_start(folder_root, tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", None)
    with refused(long, "AF_UNIX path too long", "TMPDIR"):
        class_folders(folder_root, workers=1, **SMALL).train_batches(1, seed=0)


def test_batches_come_without_what_only_linux_has(folder_root, monkeypatch):
    """As on macOS."""
    expected = list(epoch_of(class_folders(folder_root, workers=0, **SMALL).train_batches(4, seed=0)))
    monkeypatch.delattr(signal, "sigwaitinfo")
    found = list(epoch_of(class_folders(folder_root, workers=2, **SMALL).train_batches(4, seed=0)))
    for (a, labels), (b, others) in zip(expected, found, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(labels, others)


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


class OnHost(list):
    """Batches that no worker makes."""

    num_workers = 0


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
    for _ in batches_on(OnHost([(OnStream(log),), (OnStream(log),)]), torch.device("cuda", 1)):
        log.append("step")
    one = ["copy to cuda:1 on aside", "main waits for aside", "in use on main", "step"]
    assert log == one * 2
