"""Files written whole or not at all, beside their target and renamed onto it, and never through a symbolic link.

A folder may come from a stranger, and a link in it would let a write reach any file of the user.
"""

import errno
import fcntl
import glob
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from smoothmix.utils.errors import UserError


def open_no_follow(path: Path, flags: int) -> int:
    """Return a descriptor of `path`, opened as `os.open` does with `flags`; a new file has the umask's permissions.

    Raises:
        UserError: `path` is a symbolic link.
        OSError: as `os.open`.
    """
    try:
        return os.open(path, flags | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UserError(f"{path} is a symbolic link, which is not written through; remove it") from error


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
