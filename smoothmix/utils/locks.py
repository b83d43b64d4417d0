"""Files that one living process has: the system gives them back when it ends, however it ends."""

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from smoothmix.utils.errors import UserError


def hold(lock: Path, name: Path) -> IO[str]:
    """Take the file `lock`, which stands for `name`, and write into it who has it; it is free once the file is closed.

    Raises:
        UserError: another process has it (it is named).
        OSError: it cannot be written, or its file system has no locks.
    """
    file = open(lock, "a+", encoding="utf-8")  # noqa: SIM115 (the caller holds it)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        with file:
            file.seek(0)
            holder = file.read().strip() or "a process that is just starting"
            raise UserError(f"{name} is in use by {holder}; wait for it or stop it") from error
    os.register_at_fork(after_in_child=file.close)  # a loader's worker that outlives this process must not hold it
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def is_held(lock: Path) -> bool:
    """Return whether a living process has the file `lock`; it is tried for a moment only."""
    try:
        with open(lock, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
