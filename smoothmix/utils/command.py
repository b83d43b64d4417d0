"""Commands: how every one of them ends, and how they are printed so that they can be pasted into bash and zsh.

Mistakes, memory that is short, Ctrl-C and a closed pipe give a sentence or nothing, never a traceback.
"""

import io
import os
import re
import select
import shlex
import signal
import sys
from collections.abc import Callable, Iterable

from smoothmix.utils.errors import UserError

PLAIN = re.compile(r"[A-Za-z_][\w-]*|[\w.+-]*/[\w./+-]*", re.ASCII)  # a name or a path, without quotes
NOT_TEXT = {"null", "true", "false", "nan", "inf"}


def run(main: Callable[[], int | None]) -> None:
    """Call `main`, and exit with the status that it returns if that is not 0.

    A UserError is printed as one sentence (exit status 2). Ctrl-C gives 130 and a closed standard output 141, as a
    shell reports SIGINT and SIGPIPE. Characters that the terminal's encoding lacks are escaped. Commands whose imports
    take long set SIGINT to SIG_DFL before them; from here on it is a KeyboardInterrupt again.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
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


def override(key: str, value: str) -> str:
    """Return ``key=value``, an argument by which Hydra sets `key` to the text `value`, whatever characters it has."""
    if PLAIN.fullmatch(value) and value.lower() not in NOT_TEXT:
        return f"{key}={value}"
    escaped = re.sub(r'(\\*)(?="|$)', r"\1\1", value).replace('"', r"\"").replace("${", r"\${")
    return f'{key}="{escaped}"'


def shell_command(arguments: Iterable[object]) -> str:
    """Return the line that a user types to run `arguments`."""
    return shlex.join(map(str, arguments))


def status_of(main: Callable[[], int | None]) -> int | str | None:
    """Call `main` and return the exit status, None being 0; see `run`."""
    try:
        return main()
    except SystemExit as stop:  # argparse's
        return stop.code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
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
