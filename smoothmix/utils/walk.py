"""Walks over a user's folders that skip hidden and tool folders, do not loop, and report what cannot be read."""

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from smoothmix.utils.errors import UserError

# what file managers, network storage and archivers put between a user's own folders, beside hidden ones
TOOL_FOLDERS = {"@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
TOOL_FOLDERS |= {"__MACOSX", "__pycache__"}


def subfolders(folder: str | Path) -> list[str]:
    """Return the sorted names of the folders in `folder`, without hidden and tool folders.

    Raises:
        UserError: `folder` cannot be read.
    """
    return sorted(entry.name for entry in _entries(folder) if entry.is_dir())


def walk_files(folder: str | Path, problems: list[str] | None = None) -> Iterator[str]:
    """Yield the paths of all files beneath `folder`, without hidden files, pipes and files in hidden or tool folders.

    Within a folder they are sorted, links last. Links are followed, but no folder is entered twice, nor one that
    `folder` lies in. With `problems`, a sentence about each folder that cannot be read is put there.

    Raises:
        UserError: a folder cannot be read, and there is no list of `problems`.
    """
    above = Path(folder).resolve().parents
    yield from _walk(folder, {_identity(path) for path in (folder, *above)}, problems)


def find_files(folder: str | Path, pattern: str, problems: list[str] | None = None) -> list[Path]:
    """Return the sorted paths of the files beneath `folder` whose names match a shell pattern; see `walk_files`."""
    return sorted(Path(path) for path in walk_files(folder, problems) if fnmatchcase(os.path.basename(path), pattern))


def _walk(folder: str | Path, entered: set[tuple[int, int]], problems: list[str] | None) -> Iterator[str]:
    try:
        entries = _entries(folder)
    except UserError as error:
        if problems is None:
            raise
        problems.append(str(error))
        return
    for entry in entries:
        if entry.is_file() or (entry.is_symlink() and not entry.is_dir()):  # no pipes, which would wait for a writer
            yield entry.path
        elif entry.is_dir() and (identity := _identity(entry.path)) not in entered:
            entered.add(identity)
            yield from _walk(entry.path, entered, problems)


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".") and entry.name not in TOOL_FOLDERS]
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted(entries, key=lambda entry: (entry.is_symlink(), entry.name))


def _identity(folder: str | Path) -> tuple[int, int]:
    try:
        status = os.stat(folder)
    except OSError as error:
        raise _unreadable(folder, error) from error
    return status.st_dev, status.st_ino


def _unreadable(folder: str | Path, error: OSError) -> UserError:
    return UserError(f"cannot read the folder {folder} ({error.strerror}): make it readable, or move it away")
