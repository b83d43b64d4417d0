"""Walks over a user's folders that skip hidden and tool folders, do not loop, and report what cannot be read."""

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NoReturn

from smoothmix.utils.errors import UserError

# what file managers, network storage and archivers put between a user's own folders, beside hidden ones
TOOL_FOLDERS = {"@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
TOOL_FOLDERS |= {"__MACOSX", "__pycache__"}


def subfolders(folder: str | Path) -> list[str]:
    """Return the sorted names of the folders in `folder`, without hidden and tool folders.

    Raises:
        UserError: `folder` cannot be read.
    """
    return sorted(filter(_is_own, next(os.walk(folder, onerror=_refuse))[1]))


def walk_files(folder: str | Path, problems: list[str] | None = None) -> Iterator[str]:
    """Yield the paths of all files beneath `folder`, without hidden files and files in hidden or tool folders.

    Links are followed, but no folder is entered twice, nor one that `folder` lies in. A path need not be that of a
    regular file. With `problems`, a sentence about each folder that cannot be read is put there.

    Raises:
        UserError: a folder cannot be read, and there is no list of `problems`.
    """

    def report(error: OSError) -> None:
        if problems is None:
            _refuse(error)
        problems.append(_sentence(error))

    top = Path(os.path.realpath(folder))
    entered = {str(path) for path in (top, *top.parents)}
    for place, folders, files in os.walk(folder, onerror=report, followlinks=True):
        paths = [(os.path.islink(path := os.path.join(place, name)), name, path) for name in filter(_is_own, folders)]
        folders.clear()
        for _, name, path in sorted(paths):
            if (real := os.path.realpath(path)) not in entered:
                entered.add(real)
                folders.append(name)
        yield from (os.path.join(place, name) for name in sorted(files) if not name.startswith("."))


def find_files(folder: str | Path, pattern: str, problems: list[str] | None = None) -> list[Path]:
    """Return the sorted paths of the files beneath `folder` whose names match a shell pattern; see `walk_files`."""
    return sorted(Path(path) for path in walk_files(folder, problems) if fnmatchcase(os.path.basename(path), pattern))


def _is_own(name: str) -> bool:
    return not name.startswith(".") and name not in TOOL_FOLDERS


def _refuse(error: OSError) -> NoReturn:
    raise UserError(_sentence(error)) from error


def _sentence(error: OSError) -> str:
    return f"cannot read the folder {error.filename} ({error.strerror}): make it readable, or move it away"
