"""How commands begin and end, with their worker processes, and how they are printed for a shell.

Mistakes, memory or room that is short, Ctrl-C and a closed pipe give a sentence or nothing, never a traceback; on
SIGTERM and SIGUSR2 a training finishes its step, saves and leaves.
"""

import atexit
import errno
import gc
import getpass
import io
import os
import re
import select
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing import active_children, parent_process
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar

from torch import distributed as dist

from smoothmix.utils.distributed import Ranks, is_lost_rank, lost_ranks, of_torchrun
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import write_text

PLAIN = re.compile(r"[A-Za-z_][\w-]*|[\w.+-]*/[\w./+-]*", re.ASCII)  # a name or a path, without quotes
NOT_TEXT = {"null", "true", "false", "nan", "inf"}
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
Batch = TypeVar("Batch")


def run(main: Callable[[], int | None], lossy: bool = False) -> None:
    """Call `main`, and exit with its status, see :func:`status_of`, if that is not 0.

    Characters that the terminal's encoding lacks are escaped; what is written to a closed standard stream is lost, and
    with `lossy` also what cannot be written, since the lines of a training are not its result. Ctrl-C is a
    KeyboardInterrupt once; again, it ends the process. (Commands whose imports take long set SIGINT to SIG_DFL before.)
    """
    signal.signal(signal.SIGINT, _interrupt)
    # Garbage collection would go through all that is imported again and again, and once more at the end.
    gc.set_threshold(10_000, 50, 100)
    atexit.register(gc.freeze)
    # what ends TensorBoard's thread is raised in the main thread again
    threading.excepthook = lambda of: None if isinstance(of.exc_value, OSError) else threading.__excepthook__(of)
    try:
        getpass.getuser()
    except (KeyError, OSError):  # of a container without an entry in /etc/passwd; torch names a folder after the user
        os.environ["LOGNAME"] = f"uid{os.getuid()}"
    _prepare_streams(lossy)
    status = status_of(main)
    try:
        sys.stdout.flush()
    except OSError as error:
        status = status or _status_after(error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
    if status:
        sys.exit(status)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


class _Lossy(io.FileIO):
    """A standard stream that loses what it cannot take. That nobody reads a pipe is still an error."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(stream.fileno(), "w", closefd=False)
        self.stream = stream  # which might close the file if it were gone

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            raise
        except OSError:
            return len(content)


def _prepare_streams(lossy: bool) -> None:
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # or the next file would be opened as a standard stream
        pass
    os.close(descriptor)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            file = getattr(stream.buffer, "raw", stream.buffer)
            if lossy and isinstance(file, io.FileIO) and file.fileno() == number:
                raw, direct = _Lossy(stream), stream.write_through  # as of python -u
                text = io.TextIOWrapper(raw if direct else io.BufferedWriter(raw), stream.encoding, stream.errors)
                text.reconfigure(line_buffering=stream.line_buffering, write_through=direct)
                setattr(sys, name, text)


def status_of(main: Callable[[], int | None]) -> int | str | None:
    """Call `main` and return its exit status, None being 0; whatever it raises is told on standard error.

    2 for what a user can mend, in one sentence; 1 for a bug, with its traceback, and for a rank that is lost; 130 for
    Ctrl-C, and 141 for a closed standard output, as a shell reports SIGINT and SIGPIPE. With several ranks a failing
    one ends at once: the others may be waiting for it, and only its end tells them.
    """
    try:
        return main()
    except SystemExit as stop:
        return stop.code
    except KeyboardInterrupt:
        _kill_data_workers()
        print("interrupted; run the same command again", file=sys.stderr)
        return 130
    except Exception as error:
        return _status_after(error)


def _status_after(error: Exception) -> int:
    lost = _lost(error) if is_lost_rank(error) else ""  # first of all: torchrun soon sends SIGTERM
    _kill_data_workers()
    status = 1 if lost else 2
    if isinstance(error, BrokenPipeError) and stdout_has_lost_its_reader():
        status = 141
    elif sentence := lost or explanation(error):
        rank = f" [rank {dist.get_rank()}]" if dist.is_initialized() else ""
        notes = getattr(error, "__notes__", ())
        print(f"error{rank}: {sentence}", *notes, sep="\n", file=sys.stderr, flush=True)
    else:
        status = 1
        traceback.print_exc()
    if dist.is_initialized():
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(status)  # torchrun --max-restarts starts all ranks again
    return status


def _lost(error: Exception) -> str:
    try:
        lost = lost_ranks()
    except RuntimeError:
        lost = []
    which = f"rank {', '.join(map(str, lost))}" if lost else "another rank"
    return (
        f"{which} of {of_torchrun('WORLD_SIZE', 1)} has ended or hangs ({str(error).splitlines()[0]}); run the same "
        "command again to resume from the last checkpoint"
    )


def explanation(error: Exception) -> str | None:
    """Return the sentence for what a user can mend, None for a bug."""
    if isinstance(error, UserError):
        return str(error)
    text = " ".join(str(error).split())
    if "more than 1 value per channel" in text:  # torch's BatchNorm
        return (
            "the last batch of an epoch has one image per rank, and BatchNorm cannot train on that where its map is "
            "one pixel; choose another recipe.batch_size or dataset.val_split"
        )
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return f"cannot write to {error.filename or 'disk'} ({error.strerror}); free space or choose another folder"
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
        return f"{error.strerror}; allow more (ulimit -n 4096)"
    if isinstance(error, MemoryError) or any(sign in text for sign in ("out of memory", "allocate memory", "ALLOC_F")):
        where = "the GPU" if "CUDA" in text or "CUBLAS" in text else "this machine"
        return (
            f"{where} is out of memory ({text[:200] or type(error).__name__}); choose a smaller batch "
            "(recipe.batch_size in training, batch_size in evaluation), fewer workers or a smaller network"
        )
    return None


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


class WaitInterrupted(BaseException):
    """A signal came while a batch was waited for. No Exception: what guards against damaged images would take it."""


class StopSignal:
    """While entered, SIGTERM and SIGUSR2 only set a flag, which `requested` shares among the ranks."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.number = 0
        self._waiting = False

    def __enter__(self) -> "StopSignal":
        self._handlers = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGUSR2)}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        if self._waiting:
            raise WaitInterrupted

    def interruptible(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the `batches`; a signal that comes while one is waited for raises WaitInterrupted here.

        Workers that hang would otherwise keep the process from ever looking at the flag. With several ranks the signal
        only sets the flag: the others are in the midst of the step, and a rank that leaves alone cannot save it.
        """
        remaining = iter(batches)
        while (batch := self._wait_for(remaining)) is not None:
            yield batch

    def _wait_for(self, remaining: Iterator[Batch]) -> Batch | None:
        try:
            self._waiting = self.ranks.world_size == 1
            if self._waiting and self.number:  # it came just before
                raise WaitInterrupted
            return next(remaining, None)
        finally:
            self._waiting = False

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
        _kill_data_workers()
        raise Stopped(128 + number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # of a lost rank this one has yet to speak, and torchrun's SIGTERM is near
        lost = error is not None and is_lost_rank(error)
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_IGN if lost else handler)


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


def _kill_data_workers() -> None:
    """Those that hang would outlive this process, or keep it from ending."""
    kill(child for child in active_children() if child.daemon)


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
