"""Unpack an archive without trusting it: nothing outside its folder, no links, no decompression bombs."""

import gzip
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smoothmix.utils.errors import UserError

GROWTH = 10  # CIFAR's archives grow by a tenth; gzip can pack a thousandfold
SPARE = 64 << 20  # bytes beyond that, for small archives


def unpack(archive: Path, into: Path, folders: set[str]) -> None:
    """Unpack a tar archive into `into`, if it holds nothing but files and folders below the top folders `folders`.

    Members are written to a hidden folder in `into` and moved when the last one is written. After a refused member, a
    full disk or an interruption nothing of the archive is in `into`; what was written is removed at once, or by the
    next call after the process was killed. The archive itself is left as it is.

    Raises:
        UserError: the archive is damaged, holds far more than its own size, or has a member that is refused: a link, a
            device, a path leading elsewhere.
    """
    from tqdm import tqdm

    staging = into / f".{archive.name}.unpacking"
    try:
        if staging.exists():
            shutil.rmtree(staging)
        size = 0
        with open_tar(archive) as tar:
            for member in tqdm(_members(tar), desc=f"unpack {archive.name}", unit=" files", disable=None):
                parts = Path(member.name).parts
                if not parts or parts[-1].startswith("._"):
                    continue  # the archive's own root, "./", and what macOS adds to the archives it makes
                if not (member.isfile() or member.isdir()) or parts[0] not in folders or ".." in parts:
                    raise UserError(
                        f"{archive} holds {member.name!r}, which is not a plain file or folder below "
                        f"{'/, '.join(sorted(folders))}/; nothing was unpacked: "
                        f"delete the archive and get it from its publisher"
                    )
                size += member.size  # of a sparse file: what it pretends to be
                if size > most(archive):
                    raise refuse_bomb(archive)
                tar.extract(member, staging, filter="data")
        for entry in staging.iterdir():
            _move(entry, into / entry.name)
    except UserError:
        raise
    except Exception as error:  # damaged archives make tarfile raise nearly anything
        raise UserError(
            f"could not unpack {archive} into {into} ({error or type(error).__name__}): check the disk, "
            f"or delete the archive and download it again"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an archive without keeping them: an ImageNet-C archive has up to a million."""
    while (member := tar.next()) is not None:
        yield member
        tar.members.clear()


def _move(source: Path, target: Path) -> None:
    """Move a file or folder; in a folder that is there already, file by file."""
    if source.is_dir() and target.is_dir():
        for entry in source.iterdir():
            _move(entry, target / entry.name)
    else:
        source.replace(target)


def most(archive: Path) -> int:
    """Return how many bytes `archive` may hold unpacked."""
    return GROWTH * archive.stat().st_size + SPARE


def refuse_bomb(archive: Path) -> UserError:
    """Return the error for an archive that holds more than `most` bytes."""
    return UserError(
        f"{archive} holds more than {most(archive)} bytes in {archive.stat().st_size}, which no published archive "
        "does; nothing was unpacked: delete the archive and get it from its publisher"
    )


@contextmanager
def open_tar(archive: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar file, packed by gzip or not, of which no more than `most` bytes can be read.

    Raises:
        UserError: while it is read: it holds more. Other exceptions, of many kinds: it is damaged.
    """
    with open(archive, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    content = _Bounded(archive) if packed else open(archive, "rb")  # noqa: SIM115 (closed below)
    with content, tarfile.open(fileobj=content, mode="r:") as tar:
        yield tar


class _Bounded(gzip.GzipFile):
    """What a gzip file holds, up to `most` bytes; what claims to be longer is refused before it is read."""

    def __init__(self, archive: Path) -> None:
        super().__init__(archive)
        self.archive, self.most = archive, most(archive)

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0 or self.tell() + size > self.most:
            raise refuse_bomb(self.archive)
        return super().read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset > self.most:
            raise refuse_bomb(self.archive)
        return super().seek(offset, whence)
