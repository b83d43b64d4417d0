"""How commands end, with their worker processes, and how they are printed so that they can be pasted into a shell.

Mistakes, memory that is short, Ctrl-C and a closed pipe give a sentence or nothing, never a traceback; on SIGTERM and
SIGUSR2 a training finishes its step, saves and leaves.
"""

import atexit
import gc
import io
import os
import re
import select
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import active_children, parent_process
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar

from smoothmix.utils.distributed import Ranks, is_lost_rank
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import write_text

PLAIN = re.compile(r"[A-Za-z_][\w-]*|[\w.+-]*/[\w./+-]*", re.ASCII)  # a name or a path, without quotes
NOT_TEXT = {"null", "true", "false", "nan", "inf"}
Batch = TypeVar("Batch")


def run(main: Callable[[], int | None]) -> None:
    """Call `main`, and exit with the status that it returns if that is not 0.

    A UserError is printed as one sentence, then its notes (exit status 2). Ctrl-C gives 130 and a closed standard
    output 141, as a shell reports SIGINT and SIGPIPE. Characters that the terminal's encoding lacks are escaped.
    Commands whose imports take long set SIGINT to SIG_DFL before them; from here on it is a KeyboardInterrupt again.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Garbage collection would go through all that is imported again and again, and once more at the end.
    gc.set_threshold(10_000, 50, 100)
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    status = status_of(main)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = 141
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
    if status:
        sys.exit(status)


def status_of(main: Callable[[], int | None]) -> int | str | None:
    """Call `main` and return the exit status, None being 0; see `run`."""
    try:
        return main()
    except SystemExit as stop:  # argparse's
        return stop.code
    except UserError as error:
        print(f"error: {error}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        if not stdout_has_lost_its_reader():
            raise  # another pipe
        return 141
    except (MemoryError, RuntimeError) as error:  # torch raises RuntimeErrors
        if (sentence := out_of_memory(error)) is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return 2


def out_of_memory(error: Exception) -> str | None:
    """Return the sentence for an `error` that says that memory is short, on the host or on a GPU, else None."""
    text = " ".join(str(error).split())
    signs = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    if not isinstance(error, MemoryError) and not any(sign in text for sign in signs):
        return None
    where = "the GPU" if "CUDA" in text or "CUBLAS" in text else "this machine"
    return (
        f"{where} is out of memory ({text[:200] or type(error).__name__}); choose a smaller batch "
        "(recipe.batch_size in training, batch_size in evaluation), fewer workers or a smaller network"
    )


def stdout_has_lost_its_reader() -> bool:
    """Return whether standard output is a pipe that nobody reads any more, as after ``| head``."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


# ---- how they are printed


def override(key: str, value: str) -> str:
    """Return ``key=value``, an argument by which Hydra sets `key` to the text `value`, whatever characters it has."""
    if PLAIN.fullmatch(value) and value.lower() not in NOT_TEXT:
        return f"{key}={value}"
    escaped = re.sub(r'(\\*)(?="|$)', r"\1\1", value).replace('"', r"\"").replace("${", r"\${")
    return f'{key}="{escaped}"'


def shell_command(arguments: Iterable[object]) -> str:
    """Return the line that a user types to run `arguments`."""
    return shlex.join(map(str, arguments))


# ---- SIGTERM and SIGUSR2


class Stopped(SystemExit):
    """The run was asked to stop and has saved its state. A SystemExit, so that it ends a whole sweep."""


class WaitInterrupted(Exception):
    """A signal came while a batch was waited for."""


class StopSignal:
    """While entered, SIGTERM and SIGUSR2 only set a flag, which `requested` shares among the ranks."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.number = 0
        self._waiting = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignal":
        for number in (signal.SIGTERM, signal.SIGUSR2):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # of a lost rank this one has yet to speak, and torchrun's SIGTERM is near
        lost = error is not None and is_lost_rank(error)
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_IGN if lost else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._end_wait()

    def _end_wait(self) -> None:
        if self._waiting and self.number:
            raise WaitInterrupted

    def interruptible(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the `batches`; a signal that comes while one is waited for raises WaitInterrupted here.

        Workers that hang would otherwise keep the process from ever looking at the flag. With several ranks the signal
        only sets the flag: the others are in the midst of the step, and a rank that leaves alone cannot save it.
        """
        iterator = iter(batches)
        while True:
            self._waiting = self.ranks.world_size == 1
            try:
                self._end_wait()
                batch = next(iterator)
            except StopIteration:
                return
            finally:
                self._waiting = False
            yield batch

    def requested(self) -> bool:
        """Return whether any rank was signalled; every rank must ask equally often."""
        return self.ranks.any(self.number != 0)

    def leave(self, position: str) -> None:
        """Raise Stopped; to be called once the state is saved. `position` says where training stands.

        The exit status is 128 + the signal, as a shell reports it. torchrun hides it, so the position is also written
        to the file that the environment variable SMOOTHMIX_STOPPED names, if it is set.
        """
        number = self.number or signal.SIGTERM
        if self.ranks.is_main:
            name = signal.Signals(number).name
            print(f"{name}: saved {position}; run the same command again to resume", flush=True)
            if marker := os.environ.get("SMOOTHMIX_STOPPED"):
                write_text(Path(marker), position + "\n")
        kill(active_children())  # data workers that hang would keep this process from ending
        raise Stopped(128 + number)


# ---- worker processes


def exit_with_parent() -> None:
    """End this process, started by :mod:`multiprocessing`, as soon as its parent has ended, even by SIGKILL."""
    parent = parent_process()
    if parent is None:
        return

    def exit_after() -> None:
        wait([parent.sentinel])  # a pipe, which the system closes with the parent
        os._exit(1)

    threading.Thread(target=exit_after, daemon=True).start()


def kill(processes: Iterable[BaseProcess]) -> None:
    """Kill child processes: one that is stopped, or waits for storage, ends by no other signal.

    torch answers the end of a killed data worker with an exception wherever the main thread is, so its handler is left
    out until they are gone.
    """
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        for process in processes:
            process.kill()
            process.join(1)
    finally:
        signal.signal(signal.SIGCHLD, handler)
