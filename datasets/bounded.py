"""Reading a compressed archive without letting a small file grow beyond all bounds."""

import gzip
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smoothmix.utils.errors import UserError

GROWTH = 10  # CIFAR's archives grow by a tenth; gzip can pack a thousandfold
SPARE = 64 << 20  # bytes beyond that, for small archives


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
