"""Fetch an archive, check it, and unpack it without trusting it."""

import hashlib
import http.client
import tarfile
import urllib.request
import zlib
from pathlib import Path

from smoothmix.errors import UserError

CHUNK = 1 << 20  # bytes
TIMEOUT = 60  # seconds without a byte


def md5(path: Path) -> str:
    """Return the md5 of a file as 32 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def download(url: str, path: Path, checksum: str) -> None:
    """Fetch `url` to `path`; the file gets its name only when its md5 is `checksum`.

    Raises:
        UserError: no network, no such file, no room, a transfer that was cut short, or another md5.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        expected, received = _fetch(url, part)
    except (OSError, http.client.HTTPException) as error:
        part.unlink(missing_ok=True)
        raise UserError(
            f"could not download {url} ({error or type(error).__name__}): check the network and the disk, "
            f"or fetch it by other means and put it at {path}, then run this again"
        ) from error
    found = md5(part)
    if expected is not None and received < expected:
        part.unlink()
        raise UserError(f"the download of {url} ended after {received} of {expected} bytes: run this again")
    if found != checksum:
        part.unlink()
        raise UserError(
            f"the download of {url} has the md5 {found}, not {checksum}: run this again, "
            f"or fetch it by other means and put it at {path}"
        )
    part.replace(path)


def _fetch(url: str, part: Path) -> tuple[int | None, int]:
    """Write what `url` sends to `part`; return the bytes announced (None: not said) and the bytes that came."""
    from tqdm import tqdm

    received = 0
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response, open(part, "wb") as file:
        length = response.headers.get("Content-Length")
        expected = int(length) if length else None
        # disable=None: a bar on a terminal, nothing in a log file
        with tqdm(total=expected, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                received += len(chunk)
                bar.update(len(chunk))
    return expected, received


def unpack(archive: Path, root: Path, folder: str) -> None:
    """Unpack a tar archive into `root`, if it holds nothing but files and folders below `folder`.

    Raises:
        UserError: the archive is damaged, or has a member that is refused: a link, a device, a path leading elsewhere.
    """
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                parts = Path(member.name).parts
                if not (member.isfile() or member.isdir()) or parts[:1] != (folder,) or ".." in parts:
                    raise UserError(
                        f"{archive} holds {member.name!r}, which is not a plain file or folder below {folder}/; "
                        f"nothing was unpacked: delete the archive and get it from its publisher"
                    )
            tar.extractall(root, filter="data")
    except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
        raise UserError(
            f"could not unpack {archive} into {root} ({error}): check the disk, "
            f"or delete the archive and download it again"
        ) from error
