"""Write corrupted test images in the layouts that `datasets.corrupted` reads, one file or folder at a time.

Several processes may write different ones of a benchmark at once. A file or folder gets its name only when it is whole,
and one that has its name is checked before it counts as done: other programs or a full disk may have left a part of it.
"""

import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.folder import FolderData
from datasets.in_memory import InMemoryData
from smoothmix.corruptions import SEVERITIES
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import refuse_link
from smoothmix.utils.walk import walk_files

PARTS = ".parts"  # what is being written

Job = tuple[str, tuple[int, ...]]  # a corruption, and the severities of it that lie in one file or folder


class ArrayWriter:
    """Writes <corruption>.npy, uint8 (5n, S, S, 3), and labels.npy, as CIFAR-10-C has them."""

    def __init__(self, folder: Path, data: InMemoryData):
        self.folder, self.parts, self.labels = folder, folder / PARTS, data.fine_test_labels.numpy()
        self.shape = (len(SEVERITIES) * data.sizes["test"], data.image_size, data.image_size, 3)

    def prepare(self) -> None:
        """Write what belongs to no corruption, and remove what an earlier start left unfinished."""
        _clear(self.parts)
        self._save(self.folder / "labels.npy", np.tile(self.labels, len(SEVERITIES)))

    def jobs(self, names: Iterable[str]) -> list[Job]:
        """Return what is to be written of the corruptions `names`: all but what is there and whole."""
        return [(name, SEVERITIES) for name in names if not _holds(self.folder / f"{name}.npy", self.shape)]

    def write(self, job: Job, batches: Iterable[np.ndarray]) -> None:
        """Write `batches` (n, S, S, 3), uint8, of each severity in the order of the test images."""
        self._save(self.folder / f"{job[0]}.npy", np.concatenate(list(batches)))

    def _save(self, path: Path, array: np.ndarray) -> None:
        beside = _unused(self.parts, path.name)
        with open(beside, "xb") as file:
            np.save(file, array)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)


class FolderWriter:
    """Writes <corruption>/<severity>/<class>/<file>.JPEG, as ImageNet-C has them.

    Raises:
        UserError: two images would be written to the same file.
    """

    def __init__(self, folder: Path, data: FolderData):
        self.folder, self.parts = folder, folder / PARTS
        self.files: dict[Path, Path] = {}  # name of the JPEG file -> name of the clean file
        for file in data.files("test"):
            jpeg = file.with_suffix(".JPEG")
            if (first := self.files.setdefault(jpeg, file)) != file:
                raise UserError(f"{first} and {file} would both become {jpeg}; rename or remove one of them")

    def prepare(self) -> None:
        """Remove what an earlier start left unfinished."""
        _clear(self.parts)

    def jobs(self, names: Iterable[str]) -> list[Job]:
        """Return what is to be written of the corruptions `names`: all but what is there and whole."""
        pairs = [(name, severity) for name in names for severity in SEVERITIES]
        return [(name, (severity,)) for name, severity in pairs if not self._is_whole(self._pair(name, severity))]

    def write(self, job: Job, batches: Iterable[np.ndarray]) -> None:
        """Write `batches` (n, S, S, 3), uint8, in the order of the test images."""
        name, (severity,) = job
        beside = _unused(self.parts, f"{name}-{severity}")
        images = (image for batch in batches for image in batch)
        for image, file in zip(images, self.files, strict=True):
            path = beside / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path, quality=85, optimize=True)  # as the published files
        pair = self._pair(name, severity)
        pair.parent.mkdir(exist_ok=True)
        if pair.exists():
            os.replace(pair, _unused(self.parts, f"{name}-{severity}"))
        os.replace(beside, pair)

    def _pair(self, name: str, severity: int) -> Path:
        return self.folder / name / str(severity)

    def _is_whole(self, pair: Path) -> bool:
        if not pair.is_dir():
            return False
        found = [Path(path) for path in walk_files(pair)]
        return {path.relative_to(pair) for path in found} == self.files.keys() and all(map(_is_whole_jpeg, found))


def _holds(path: Path, shape: tuple[int, ...]) -> bool:
    """Return whether the file is a whole array of this shape, uint8."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return isinstance(array, np.ndarray) and array.dtype == np.uint8 and array.shape == shape


def _is_whole_jpeg(path: Path) -> bool:
    """Return whether a file begins and ends as a JPEG does."""
    with open(path, "rb") as file:
        begin = file.read(2)
        file.seek(max(0, file.seek(0, os.SEEK_END) - 2))
        return begin == b"\xff\xd8" and file.read() == b"\xff\xd9"


def _unused(folder: Path, name: str) -> Path:
    """Return a path in `folder` that no other process writes to."""
    return folder / f"{name}.{secrets.token_hex(8)}.unfinished"


def _clear(folder: Path) -> None:
    """Make `folder`, empty.

    Raises:
        UserError: `folder` is a symbolic link, whose target may be anyone's.
    """
    refuse_link(folder)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
