"""Files that one living process has locked: the system unlocks them when it ends, however it ends."""

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from smoothmix.utils.errors import UserError
from smoothmix.utils.files import open_no_follow


def hold(lock: Path, name: Path) -> IO[str]:
    """Lock the file `lock`, which stands for `name`, and write into it who has it, until the file is closed.

    Raises:
        UserError: another process has locked it (it is named), or it is a symbolic link.
        OSError: it cannot be written, or its file system has no locks.
    """
    file = os.fdopen(open_no_follow(lock, os.O_RDWR | os.O_CREAT), "r+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        with file:
            holder = file.read(200).strip() or "a process that is just starting"
            raise UserError(f"{name} is in use by {holder}; wait for it or stop it") from error
    os.register_at_fork(after_in_child=file.close)  # a loader's worker may outlive this process, and must not keep it
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def is_held(lock: Path) -> bool:
    """Return whether a living process has locked the file `lock`; it is tried for a moment only."""
    try:
        with open(lock, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
