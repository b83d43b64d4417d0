"""Running jobs on this machine, several at once.

Each job's log is locked by whoever runs it, and its commands inherit the lock with their output: it lasts as long as
one of them lives, even if the launcher is killed.
"""

import fcntl
import os
import queue
import shlex
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from scripts.reproduction.jobs import DONE, FAILED, RUNNING, Job, commands, state
from smoothmix.utils.errors import UserError

STOPPED = "stopped"


class Children:
    """The processes that run now. Once a signal came, they are asked to stop and none is started."""

    def __init__(self) -> None:
        self.signal = 0
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.RLock()  # a second signal may come while `stop` has it

    def run(self, command: list[str], environment: dict[str, str], log: IO[bytes]) -> int | None:
        """Return the exit status of `command`, or None if it was not started; `log` gets it and what it prints."""
        with self._lock:
            if self.signal:
                return None
            log.write(f"$ {shlex.join(command)}\n".encode())
            log.flush()
            # a session of its own: Ctrl-C reaches it through `stop` alone, as the SIGTERM that makes it save
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
            self._running.add(process)
        status = process.wait()
        with self._lock:
            self._running.remove(process)
        return status

    def stop(self, number: int, frame: Any) -> None:
        """Note the signal and pass SIGTERM on: train.py saves and leaves."""
        with self._lock:
            self.signal = number
            for process in self._running:
                process.terminate()


def run_locally(jobs: list[Job], at_once: int | None = None) -> tuple[dict[Job, tuple[str, str]], int]:
    """Run what is missing of `jobs`; print a line as each starts and ends.

    Args:
        jobs: distinct ones.
        at_once: how many; one for each visible GPU, or one where there is none. More share the GPUs.

    Returns:
        the state of each job and why it failed, and the number of the signal that came, or 0.
    """
    gpus = _gpus(jobs)
    at_once = at_once or max(1, len(gpus))
    places: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for number in range(at_once):
        places.put(gpus[number % len(gpus)] if gpus else None)
    children = Children()

    def work(numbered: tuple[int, Job]) -> tuple[str, str]:
        number, job = numbered
        place, count = places.get(), f"[{number}/{len(jobs)}]"
        try:
            return _run(job, children, _environment(place, at_once), f"{count} {job}")
        except UserError as error:  # about records in the way
            return _say(f"{count} {job}", FAILED, str(error))
        except OSError as error:
            return _say(f"{count} {job}", FAILED, f"cannot run it: {error}")
        finally:
            places.put(place)

    handlers = {number: signal.signal(number, children.stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with ThreadPoolExecutor(at_once) as pool:
            states = list(pool.map(work, enumerate(jobs, start=1)))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return dict(zip(jobs, states, strict=True)), children.signal


def _run(job: Job, children: Children, environment: dict[str, str], name: str) -> tuple[str, str]:
    before = state(job)
    if before[0] in (DONE, RUNNING):
        return _say(name, *before)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with open(job.log, "ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _say(name, RUNNING, "")
        if children.signal:
            return STOPPED, ""
        todo = commands(job)
        print(f"{name}: started, output in {job.log}", flush=True)
        job.failure.unlink(missing_ok=True)
        started = time.monotonic()
        problem = _run_commands(todo, children, environment, log)
    after = state(job)  # now that the log's lock is free
    if after[0] in (DONE, RUNNING):  # running: another process, which the command met
        return _say(name, *after, f" after {time.monotonic() - started:.0f} s")
    if children.signal:
        return _say(name, STOPPED, "run the same command again to go on")
    reason = problem or after[1] or f"its commands ended without a whole record; see {job.log}"
    job.directory.mkdir(parents=True, exist_ok=True)
    job.failure.write_text(reason + "\n")
    return _say(name, FAILED, reason)


def _run_commands(todo: list[list[str]], children: Children, environment: dict[str, str], log: IO[bytes]) -> str:
    """Run the commands until one fails; return why it did, or nothing."""
    for command in todo:
        begin = log.tell()
        status = children.run(command, environment, log)
        if status is None:
            return ""
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        if status > 0:
            _, *said = Path(log.name).read_bytes()[begin:].decode(errors="replace").splitlines()  # _: the command
            lines = [line for line in said if line.strip()] or ["no output"]
            return f"{lines[-1].removeprefix('error: ')} (exit status {status})"
    return ""


def _say(name: str, kind: str, reason: str, when: str = "") -> tuple[str, str]:
    text = "running elsewhere" if kind == RUNNING else kind
    print(f"{name}: {text}{when}{': ' if reason else ''}{reason}", flush=True)
    return kind, reason


def _gpus(jobs: list[Job]) -> list[str]:
    """Return the visible GPUs as CUDA_VISIBLE_DEVICES names them, none if the jobs ask for the CPU."""
    import torch

    if all(job.run.config.device == "cpu" for job in jobs):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
    return names[: torch.cuda.device_count()]


def _environment(gpu: str | None, at_once: int) -> dict[str, str]:
    """Return the environment of a command: its GPU, or its share of the processor's cores."""
    if gpu is not None:
        return {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
    cores = len(os.sched_getaffinity(0))
    threads = {"OMP_NUM_THREADS": str(max(1, cores // at_once))} if at_once > 1 else {}
    return threads | os.environ
