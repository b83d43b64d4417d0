"""Files written whole or not at all, beside their target and renamed onto it, and files that stand for a lock.

Nothing is written through a symbolic link: a folder may come from a stranger, and a link in it would let a write reach
any file of the user. The system unlocks a file when the process that locked it ends, however it ends. Nested values
that come from a file are bounded (`is_small`) before they are traversed, and so is the file (`read_text`).
"""

import fcntl
import glob
import hashlib
import itertools
import json
import os
import re
import secrets
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from smoothmix.utils.errors import UserError

SMALL = 16 << 20  # bytes; the metrics of 50,000 epochs


def open_no_follow(path: Path, flags: int) -> int:
    """Return a descriptor of `path`, opened as `os.open` does with `flags`; a new file has the umask's permissions.

    Raises:
        UserError: `path` is a symbolic link.
        OSError: as `os.open`.
    """
    try:
        return os.open(path, flags | os.O_NOFOLLOW, 0o666)
    except OSError:
        refuse_link(path)
        raise


def refuse_link(path: Path) -> None:
    """Raise a `UserError` if `path` is a symbolic link."""
    if path.is_symlink():
        raise UserError(f"{path} is a symbolic link, which is not followed; remove it")


@contextmanager
def replacing(path: Path, mode: str = "w", previous: Path | None = None) -> Iterator[IO[Any]]:
    """Open a new file, in mode ``w`` (UTF-8) or ``wb``; when the block ends well, it is on the disk and renamed `path`.

    With `previous`, the file that had the name is renamed to that first; for a moment there is none called `path`.

    Raises:
        UserError: the file system refuses; the file that had the name still has it, and what was begun is removed.
    """
    try:
        _remove_abandoned(path)
        part, file = _create_part(path, mode)
        try:
            with file:  # and so locked until it has its name
                yield file
                file.flush()
                os.fsync(file.fileno())
                if previous is not None:
                    with suppress(FileNotFoundError):
                        os.replace(path, previous)
                os.replace(part, path)
        except BaseException:
            with suppress(OSError):  # on a full disk a part would be in the way of what comes next
                part.unlink()
            raise
    except OSError as error:
        raise UserError(f"cannot write {path} ({error}); free space or fix its folder, and run again") from error


def write_text(path: Path, text: str) -> None:
    """Write a small file whole, as UTF-8, or leave the previous one.

    Raises:
        UserError: the file system refuses.
    """
    with replacing(path) as file:
        file.write(text)


def make_folder(folder: Path, option: str) -> None:
    """Make a folder to write to, which the user may choose with `option`.

    Raises:
        UserError: the file system refuses, or it is an address, as s3://bucket.
    """
    if re.match(r"[A-Za-z][\w+.-]+:/", str(folder)):
        address = str(folder).replace(":/", "://", 1)
        raise UserError(f"{address} is an address, not a folder; choose another {option}, and copy it there afterwards")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}); choose another {option}") from error


def hold(lock: Path, name: Path) -> IO[str]:
    """Lock the file `lock`, which stands for `name`, and write into it who has it, until the file is closed.

    A file system without locks gets a note.

    Raises:
        UserError: another process has locked it (it is named), or it is a symbolic link.
        OSError: it cannot be written.
    """
    file = os.fdopen(open_no_follow(lock, os.O_RDWR | os.O_CREAT), "r+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        with file:
            holder = file.read(200).strip() or "a process that is just starting"
            raise UserError(f"{name} is in use by {holder}; wait for it or stop it") from error
    except OSError as error:  # such as Lustre, mounted without flock
        print(f"note: {name} cannot be locked ({error.strerror}); start no second command on it", flush=True)
    os.register_at_fork(after_in_child=file.close)  # a loader's worker may outlive this process, and must not keep it
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def is_held(lock: Path) -> bool:
    """Return whether a living process is known to have locked the file `lock`; it is tried for a moment only."""
    with suppress(FileNotFoundError), os.fdopen(os.open(lock, os.O_RDONLY | os.O_NONBLOCK)) as file:  # no pipe waits
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:  # another one says that the file system has no locks
            return isinstance(error, BlockingIOError)
    return False


def weights_digest(path: Path) -> str:
    """Return sixteen hexadecimal digits that stand for a file of weights."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _create_part(path: Path, mode: str) -> tuple[Path, IO[Any]]:
    """Create a file of a random name beside `path`; its lock tells other processes that someone is writing it."""
    while True:
        part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        # a path with bytes that the locale cannot decode is written as it lies on the disk
        encoding, errors = (None, None) if "b" in mode else ("utf-8", "surrogateescape")
        file = open(part, mode.replace("w", "x"), encoding=encoding, errors=errors)  # noqa: SIM115
        with suppress(OSError):  # a file system without locks: parts stay there
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:  # another process may have taken it for abandoned before it was locked
            return part, file
        file.close()


def _remove_abandoned(path: Path) -> None:
    """Remove what processes that were killed while they wrote `path` have left."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with suppress(OSError, UserError), os.fdopen(open_no_follow(part, os.O_RDWR)) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()


def parse_object(text: str) -> dict[str, Any]:
    """Return the JSON object that `text` is.

    Raises:
        ValueError: it is no JSON, or another kind of value.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"it is a {type(content).__name__}, not an object")
    return content


def read_text(path: Path) -> str:
    """Return the text of a small file, which a stranger may have made: UTF-8, without a byte order mark.

    Raises:
        ValueError: it is a pipe or a device, has more than `SMALL` bytes, or is not UTF-8.
        OSError: it cannot be read.
    """
    # a pipe would wait for a writer
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a regular file")
        content = file.read(SMALL + 1)
    if len(content) > SMALL:
        raise ValueError(f"it has more than {SMALL >> 20} MiB")
    return content.decode("utf-8-sig")


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in the small file `path`; raises as `read_text`, and ValueError for anything else."""
    return parse_object(read_text(path))


def is_small(values: Any, depth: int = 16, most: int = 1000) -> bool:
    """Whether nested lists and dicts have at most `depth` levels of at most `most` values each.

    A file of a few bytes can hold a list of itself: what walks through all its values, as repr does, never ends.
    """
    level = [values]
    for _ in range(depth):
        branches = (v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list | tuple | set))
        level = list(itertools.islice(itertools.chain.from_iterable(branches), most + 1))
        if not level or len(level) > most:
            break
    return not level
