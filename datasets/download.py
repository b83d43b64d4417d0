"""Download an archive, check its md5, and unpack it."""

import fcntl
import hashlib
import http.client
import os
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path

from smoothmix.utils.errors import UserError
from smoothmix.utils.files import open_no_follow

CHUNK = 1 << 20  # bytes
TIMEOUT = 60  # seconds without a byte
LARGEST, LONGEST = 32 << 30, 24 * 3600  # bytes and seconds, where the server does not say how much will come


@dataclass(frozen=True)
class Archive:
    """A tar file as its publisher offers it.

    Args:
        url: where it is.
        md5: of the archive, 32 hexadecimal digits.
        holds: files or folders in it that are read.
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
            unpack(path, into)


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
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: what servers send as addresses
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
        length = getattr(response, "length", None)  # None also for a Content-Length that is no number
        expected = None if length is None else size + length
        end = time.monotonic() + LONGEST
        # disable=None: a bar on a terminal, nothing in a log file
        bar = tqdm(total=expected, initial=size, unit="B", unit_scale=True, desc=part.stem, disable=None)
        flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if size else os.O_TRUNC)
        with bar, os.fdopen(open_no_follow(part, flags), "ab" if size else "wb") as file:
            while chunk := response.read1(CHUNK):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                bar.update(len(chunk))
                if expected is None and (size > LARGEST or time.monotonic() > end):
                    raise OSError("the server does not say how much will come, and does not end")
    return digest.hexdigest(), size, expected


def unpack(archive: Path, into: Path) -> None:
    """Unpack a tar archive whose md5 is its publisher's into the folder `into`.

    Files are written to a hidden folder in `into` and moved when the last one is written. After a full disk or an
    interruption nothing of the archive is in `into`; what was written is removed at once, or by the next call after the
    process was killed.

    Raises:
        UserError: the file system refuses, or the archive is none.
    """
    staging = into / f".{archive.name}.unpacking"
    try:
        if staging.exists():
            shutil.rmtree(staging)
        print(f"unpacking {archive}", file=sys.stderr, flush=True)
        with tarfile.open(archive) as tar:
            tar.extractall(staging, filter="data")
        for entry in staging.iterdir():
            if (target := into / entry.name).is_dir():  # its other files stay
                shutil.copytree(entry, target, dirs_exist_ok=True, copy_function=os.replace)
            else:
                entry.replace(target)
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(
            f"could not unpack {archive} into {into} ({error or type(error).__name__}): check the disk, "
            f"or delete the archive and download it again"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
