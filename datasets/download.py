"""Download an archive, check it, and unpack it without trusting it: nothing outside its folder, no links, no bombs."""

import fcntl
import gzip
import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from smoothmix.utils.errors import UserError
from smoothmix.utils.files import open_no_follow

CHUNK = 1 << 20  # bytes
TIMEOUT = 60  # seconds without a byte
GROWTH = 10  # CIFAR's archives grow by a tenth; gzip can pack a thousandfold
SPARE = 64 << 20  # bytes beyond that, for small archives


@dataclass(frozen=True)
class Archive:
    """A tar file as its publisher offers it.

    Args:
        url: where it is.
        md5: of the archive, 32 hexadecimal digits.
        holds: files or folders in it that are read; nothing outside their first folders is ever unpacked.
    """

    url: str
    md5: str
    holds: tuple[str, ...]

    @property
    def name(self) -> str:
        """The archive's file name."""
        return self.url.rsplit("/", 1)[-1].partition("?")[0]

    def missing(self, into: Path) -> list[Path]:
        """Return what it holds and is missing in the folder `into`."""
        return [path for name in self.holds if not (path := into / name).exists()]


def fetch(archive: Archive, into: Path) -> None:
    """Download, check and unpack `archive` into the folder `into`, unless everything that it holds is there.

    As long as nothing is missing, what is there is left alone, right or wrong. The archive is kept in `into`; one that
    lies there already is used if its md5 is right. Of several processes one fetches and the others wait.

    Raises:
        UserError: as :func:`download` and :func:`unpack`, or `into` cannot be written to.
    """
    if not archive.missing(into):
        return
    try:
        into.mkdir(parents=True, exist_ok=True)
        lock = os.fdopen(open_no_follow(into / f".{archive.name}.lock", os.O_WRONLY | os.O_CREAT), "w")
    except OSError as error:
        raise UserError(f"cannot write to {into} ({error}): give another root for the data") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if archive.missing(into):
            path = into / archive.name
            if not path.is_file() or md5(path) != archive.md5:
                download(archive.url, path, archive.md5)
            unpack(path, into, {Path(name).parts[0] for name in archive.holds})


def md5(path: Path) -> str:
    """Return the md5 of a file as 32 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def download(url: str, path: Path, checksum: str) -> None:
    """Fetch `url` to `path`; the file gets its name only when its md5 is `checksum`.

    What came of an interrupted transfer stays at `path` + ".part", and the next call resumes from there if the server
    can do that. Every byte is hashed once per call, as it is received.

    Raises:
        UserError: no network, no such file, no room, a transfer that was cut short, or another md5 (the ".part" is
            then deleted).
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        found, size, expected = _fetch(url, part, checksum)
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"could not download {url} ({error or type(error).__name__}): check the network and the disk and run this "
            f"again, to resume from where it stopped, or fetch it by other means and put it at {path}"
        ) from error
    if expected is not None and size < expected:
        raise UserError(f"the download of {url} ended after {size} of {expected} bytes: run this again to resume")
    if found != checksum:
        part.unlink()
        raise UserError(
            f"the download of {url} has the md5 {found}, not {checksum}, and was deleted: run this again, "
            f"or fetch it by other means and put it at {path}"
        )
    part.replace(path)


def _fetch(url: str, part: Path, checksum: str) -> tuple[str, int, int | None]:
    """Append to `part` what is missing; return its md5, its size, and the announced size (None if there is none)."""
    from tqdm import tqdm

    digest, size = hashlib.md5(), 0
    if part.is_file():
        with open(part, "rb") as file:
            digest, size = hashlib.file_digest(file, "md5"), file.tell()
        if digest.hexdigest() == checksum:
            return checksum, size, size
    request = urllib.request.Request(url, headers={"Range": f"bytes={size}-"} if size else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and size:
            return digest.hexdigest(), size, None  # there is nothing behind what is here
        raise
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:  # the server sends all of it again
            digest, size = hashlib.md5(), 0
        length = response.headers.get("Content-Length")
        expected = size + int(length) if length else None
        # disable=None: a bar on a terminal, nothing in a log file
        bar = tqdm(total=expected, initial=size, unit="B", unit_scale=True, desc=part.stem, disable=None)
        flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if size else os.O_TRUNC)
        with bar, os.fdopen(open_no_follow(part, flags), "ab" if size else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                bar.update(len(chunk))
    return digest.hexdigest(), size, expected


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
