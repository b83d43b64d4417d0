"""Running jobs on this machine, several at once.

A job's log is locked by whoever runs it. Its commands inherit the lock with their output, so it lasts as long as one of
them lives, even if the launcher is killed.
"""

import asyncio
import fcntl
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from scripts.reproduction.jobs import (
    DONE,
    FAILED,
    RUNNING,
    Job,
    missing_corruptions,
    remaining_commands,
    state,
    trained,
)
from smoothmix.utils.command import shell_command
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import open_no_follow, write_text

STOPPED = "stopped"
State = tuple[str, str]


def run_locally(jobs: list[Job], at_once: int | None = None) -> tuple[dict[Job, State], int]:
    """Run what is missing of `jobs`; print a line as each starts and ends.

    SIGINT and SIGTERM stop it: train.py saves its state first.

    Args:
        jobs: distinct ones.
        at_once: how many; by default one for each visible GPU, or one where there is none. More share the GPUs.

    Returns:
        the state of each job and why it failed, and the number of the signal that came, or 0.
    """
    return asyncio.run(_Launcher(jobs, at_once).run())


class _Launcher:
    def __init__(self, jobs: list[Job], at_once: int | None) -> None:
        gpus = _gpus(jobs)
        self.jobs, self.at_once = jobs, at_once or max(1, len(gpus))
        self.free: asyncio.Queue[str | None] = asyncio.Queue()
        for number in range(self.at_once):
            self.free.put_nowait(gpus[number % len(gpus)] if gpus else None)
        self.processes: set[asyncio.subprocess.Process] = set()
        self.signal = 0

    async def run(self) -> tuple[dict[Job, State], int]:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop, number)
        states = await asyncio.gather(*map(self._run_job, range(len(self.jobs)), self.jobs), return_exceptions=True)
        for found in states:
            if isinstance(found, BaseException):
                raise found
        return dict(zip(self.jobs, states, strict=True)), self.signal

    def _stop(self, number: int) -> None:
        self.signal = number
        for process in self.processes:
            with suppress(ProcessLookupError):  # it has just ended
                process.terminate()

    async def _run_job(self, number: int, job: Job) -> State:
        name = f"[{number + 1}/{len(self.jobs)}] {job}"
        gpu = await self.free.get()
        try:
            return await self._finish(job, name, _environment(gpu, self.at_once))
        except BrokenPipeError:  # nobody reads what is printed
            self._stop(signal.SIGTERM)
            raise
        except (UserError, OSError) as error:
            return _say(name, FAILED, str(error))
        finally:
            self.free.put_nowait(gpu)

    async def _finish(self, job: Job, name: str, environment: dict[str, str]) -> State:
        if self.signal:
            return STOPPED, ""
        kind, why = state(job)
        if kind in (DONE, RUNNING):
            return _say(name, kind, why)
        commands = remaining_commands(job)
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(open_no_follow(job.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as log:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return _say(name, RUNNING, "")
            print(f"{name}: started, output in {job.log}", flush=True)
            job.failure.unlink(missing_ok=True)
            started = time.monotonic()
            reason = await self._run_commands(commands, environment, job.log, log)
        kind, why = state(job)
        if kind in (DONE, RUNNING):  # running: another process has it, and the command said so
            return _say(name, kind, why, f" after {time.monotonic() - started:.0f} s")
        if self.signal:
            return _say(name, STOPPED, "run the same command again to resume")
        reason = reason or why
        if not reason:
            missing = ", ".join(missing_corruptions(job)) if trained(job) else "summary.json"
            reason = f"its commands ended, but {missing} is missing; see {job.log}"
        job.directory.mkdir(parents=True, exist_ok=True)
        write_text(job.failure, reason + "\n")
        return _say(name, FAILED, reason)

    async def _run_commands(
        self, commands: list[list[str]], environment: dict[str, str], path: Path, log: IO[bytes]
    ) -> str:
        """Run the commands, their output to `log`, until one fails; return why it did, or nothing."""
        for command in commands:
            if self.signal:
                return ""
            log.write(os.fsencode(f"$ {shell_command(command)}\n"))
            log.flush()
            begin = log.tell()
            # a session of its own: Ctrl-C reaches it through `_stop` alone, as the SIGTERM that makes it save
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                start_new_session=True,
            )  # fmt: skip
            self.processes.add(process)
            if self.signal:  # it came while the process started
                self._stop(self.signal)
            status = await process.wait()
            self.processes.remove(process)
            if status:
                return _why(status, path.read_bytes()[begin:].decode(errors="replace"))
        return ""


def _why(status: int, output: str) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    lines = [line for line in output.splitlines() if line.strip()] or ["no output"]
    return f"{lines[-1].removeprefix('error: ')} (exit status {status})"


def _say(name: str, kind: str, reason: str, when: str = "") -> State:
    text = "running elsewhere" if kind == RUNNING else kind
    print(f"{name}: {text}{when}{': ' if reason else ''}{reason}", flush=True)
    return kind, reason


def _gpus(jobs: list[Job]) -> list[str]:
    """Return the visible GPUs as CUDA_VISIBLE_DEVICES names them, none if the jobs ask for the CPU."""
    import torch

    if all(job.config.device == "cpu" for job in jobs):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
    return names[: torch.cuda.device_count()]


def _environment(gpu: str | None, at_once: int) -> dict[str, str]:
    """Return the environment of a command: its GPU, or its part of the processor's cores."""
    if gpu is not None:
        return {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS
    threads = {"OMP_NUM_THREADS": str(max(1, cores // at_once))} if at_once > 1 else {}
    return threads | os.environ
