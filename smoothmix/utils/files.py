"""Files that are whole at any moment: written beside their target and renamed onto it."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from smoothmix.utils.errors import UserError


@contextmanager
def replacing(path: Path, mode: str = "w", previous: Path | None = None) -> Iterator[IO[Any]]:
    """Open a new file of the given mode; when the block ends well, it is on the disk and takes the name `path`.

    With `previous`, the file that had the name goes on under that one; for a moment, then, there is none called `path`.

    Raises:
        UserError: the file system refuses; the file that had the name still has it, and what was begun is removed.
    """
    beside = path.with_name(path.name + ".part")
    try:
        try:
            with open(beside, mode, encoding=None if "b" in mode else "utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if previous is not None:
                with suppress(FileNotFoundError):
                    os.replace(path, previous)
            os.replace(beside, path)
        except BaseException:
            with suppress(OSError):  # on a full disk a part would be in the way of what comes next
                beside.unlink()
            raise
    except OSError as error:
        raise UserError(f"cannot write {path} ({error}); free space or fix its folder, and run again") from error


def write_text(path: Path, text: str) -> None:
    """Write a small file whole, or leave the previous one.

    Raises:
        UserError: the file system refuses.
    """
    with replacing(path) as file:
        file.write(text)


def weights_digest(path: Path) -> str:
    """Return sixteen hexadecimal digits that stand for a file of weights."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
