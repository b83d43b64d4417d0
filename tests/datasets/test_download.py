"""Downloads that stop and resume, and unpacking that stops."""

import gzip
import hashlib
import io
import os
import re
import tarfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from datasets import download as module
from datasets.download import Archive, download, fetch, unpack
from tests.commands import ROOT, Command
from tests.mistakes import refused

BODY = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
MD5 = hashlib.md5(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves the server's `body`, from the byte that is asked for if it `ranges`, and hangs up after `cut` bytes."""

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if not self.path.startswith("/files/set.tar"):
            self.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        if start and start >= len(server.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.body)}")
            self.end_headers()
            return
        if server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if server.length != "":
            self.send_header("Content-Length", server.length or str(len(server.body) - start))
        self.end_headers()
        self.wfile.write(server.body[start:][: server.cut])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve():
    """Return a function that serves bytes and returns the server, with `asked`, the ranges asked for.

    `length` is what it says that the body has ("": nothing), `redirect` where it sends everybody.
    """
    servers = []

    def start(body: bytes, ranges: bool = True, cut: int | None = None, length: str | None = None, redirect: str = ""):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.body, server.ranges, server.cut, server.asked = body, ranges, cut, []
        server.length, server.redirect = length, redirect
        server.url = f"http://127.0.0.1:{server.server_port}/files/set.tar?download=1"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def hashed(monkeypatch):
    """Count the bytes that are read back from the disk to be hashed."""
    sizes = []
    file_digest = hashlib.file_digest

    def counting(file, name):
        sizes.append(os.fstat(file.fileno()).st_size)
        return file_digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    return sizes


# ---- resuming


def test_an_interrupted_download_goes_on(tmp_path, serve, hashed):
    server = serve(BODY, cut=100_000)
    path = tmp_path / "new" / "set.tar"
    part = path.with_name("set.tar.part")
    for size in (100_000, 200_000):
        with refused(size, 300000, "again"):
            download(server.url, path, MD5)
        assert part.read_bytes() == BODY[:size]
        assert not path.exists()
    download(server.url, path, MD5)
    assert path.read_bytes() == BODY
    assert not part.exists()
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"]
    assert hashed == [100_000, 200_000]  # only what earlier calls left


def test_a_link_in_place_of_the_part_is_not_written_through(tmp_path, serve):
    mine = tmp_path / "mine"
    (tmp_path / "set.tar.part").symlink_to(mine)
    with refused("set.tar.part"):
        download(serve(BODY).url, tmp_path / "set.tar", MD5)
    assert not mine.exists()


def test_a_server_without_ranges_starts_over(tmp_path, serve):
    server = serve(BODY, ranges=False)
    (tmp_path / "set.tar.part").write_bytes(b"something else")
    download(server.url, tmp_path / "set.tar", MD5)
    assert (tmp_path / "set.tar").read_bytes() == BODY
    assert server.asked == ["bytes=14-"]


def test_a_complete_part_is_checked_and_used_without_the_network(tmp_path, serve, hashed):
    server = serve(BODY)
    (tmp_path / "set.tar.part").write_bytes(BODY)
    download(server.url, tmp_path / "set.tar", MD5)
    assert (tmp_path / "set.tar").read_bytes() == BODY
    assert server.asked == []
    assert hashed == [300_000]


@pytest.mark.parametrize("wrong", [b"x" * 1000, b"x" * 300_000, BODY + b"x"])
def test_a_wrong_part_is_deleted_and_the_next_call_is_right(tmp_path, serve, wrong):
    server = serve(BODY)
    (tmp_path / "set.tar.part").write_bytes(wrong)
    found = hashlib.md5(wrong + BODY[len(wrong) :]).hexdigest()
    with refused(found, MD5, "again"):
        download(server.url, tmp_path / "set.tar", MD5)
    assert list(tmp_path.iterdir()) == []
    download(server.url, tmp_path / "set.tar", MD5)
    assert (tmp_path / "set.tar").read_bytes() == BODY


def test_a_connection_that_breaks_keeps_what_came(tmp_path, serve, monkeypatch):
    server = serve(BODY)
    monkeypatch.setattr(module, "CHUNK", 1000)
    opened = urllib.request.urlopen

    def breaking(*arguments, **options):
        response = opened(*arguments, **options)
        read, left = response.read1, [None] * 5

        def limited(amount):
            if not left:
                raise ConnectionResetError("reset by peer")
            left.pop()
            return read(amount)

        response.read1 = limited
        return response

    monkeypatch.setattr(urllib.request, "urlopen", breaking)
    with refused("reset by peer", "resume"):
        download(server.url, tmp_path / "set.tar", MD5)
    assert (tmp_path / "set.tar.part").read_bytes() == BODY[:5000]
    monkeypatch.setattr(urllib.request, "urlopen", opened)
    download(server.url, tmp_path / "set.tar", MD5)
    assert server.asked == [None, "bytes=5000-"]
    assert (tmp_path / "set.tar").read_bytes() == BODY


def test_no_such_file_no_server_and_another_checksum(tmp_path, serve):
    server = serve(BODY)
    for url, checksum, words in [
        (server.url.replace("set", "elsewhere"), MD5, [404, tmp_path / "set.tar"]),
        (server.url, "0" * 32, [MD5, "0" * 32, "deleted"]),
        ("http://127.0.0.1:1/set.tar", MD5, ["refused", "network"]),
    ]:
        with refused(url, *words):
            download(url, tmp_path / "set.tar", checksum)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["//[", "http://a b/", "file:///etc/passwd", "x:"])
def test_a_redirect_to_no_address_is_one_sentence(tmp_path, serve, address):
    server = serve(BODY, redirect=address)
    with refused(server.url):
        download(server.url, tmp_path / "set.tar", MD5)
    assert not (tmp_path / "set.tar").exists()


@pytest.mark.parametrize("length", ["", "abc", "-5"])
@pytest.mark.parametrize(("bound", "value"), [("LARGEST", 100_000), ("LONGEST", -1)])
def test_a_body_without_length_has_bounds(tmp_path, serve, monkeypatch, bound, value, length):
    server = serve(BODY, length=length)
    download(server.url, tmp_path / "set.tar", MD5)
    monkeypatch.setattr(module, bound, value)
    with refused(server.url):
        download(server.url, tmp_path / "other.tar", MD5)
    assert not (tmp_path / "other.tar").exists()


# ---- unpacking


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def archive_of(server, *holds: str) -> Archive:
    return Archive(server.url, hashlib.md5(server.body).hexdigest(), holds)


def everything(root: Path) -> dict[str, bytes | None]:
    found = {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}
    return {name: content for name, content in found.items() if name not in (".set.tar.lock", "set.tar")}


@pytest.mark.parametrize("packed", [False, True])
def test_everything_of_a_tar_is_unpacked(tmp_path, serve, packed):
    long = "b/" + "n" * 200
    body = tar_of({"./a/1": b"one", "b/c/2": b"two", long: b""})
    archive = archive_of(serve(gzip.compress(body) if packed else body), "a/1", "b/c")
    assert archive.name == "set.tar"
    fetch(archive, tmp_path)
    assert everything(tmp_path) == {"a": None, "a/1": b"one", "b": None, "b/c": None, "b/c/2": b"two", long: b""}


def test_processes_that_start_together_download_once(tmp_path, serve):
    server = serve(tar_of({"a/1": b"one"}))
    archive = archive_of(server, "a/1")
    threads = [threading.Thread(target=fetch, args=(archive, tmp_path / "data")) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.asked == [None]
    assert everything(tmp_path / "data") == {"a": None, "a/1": b"one"}


def test_other_files_of_a_folder_stay(tmp_path, serve):
    (tmp_path / "a" / "own").mkdir(parents=True)
    (tmp_path / "a" / "own" / "notes").write_bytes(b"mine")
    (tmp_path / "a" / "old").write_bytes(b"wrong")
    server = serve(tar_of({"a/old": b"right", "a/new": b"new", "a/own/2": b"two"}))
    fetch(archive_of(server, "a/old", "a/new"), tmp_path)
    expected = {"a": None, "a/old": b"right", "a/new": b"new", "a/own": None, "a/own/notes": b"mine", "a/own/2": b"two"}
    assert everything(tmp_path) == expected


def test_a_killed_unpacking_is_noticed_and_made_good(tmp_path, serve):
    files = {f"a/{i}": b"x" for i in range(3000)}
    server = serve(tar_of(files))
    (tmp_path / "set.tar").write_bytes(server.body)
    script = "from pathlib import Path; from datasets.download import unpack; unpack(Path('set.tar'), Path())"
    process = Command("-c", script, folder=tmp_path, PYTHONPATH=ROOT)
    staging = tmp_path / ".set.tar.unpacking"
    while not (staging / "a" / "100").exists():
        assert process.returncode is None
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert staging.exists()
    assert not (tmp_path / "a").exists()
    (staging / "stale").write_bytes(b"")
    fetch(archive_of(server, "a/0"), tmp_path)
    assert everything(tmp_path) == {"a": None, **files}
    assert server.asked == []  # the archive that lay there was used


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_no_archive_leaves_nothing(tmp_path, packed):
    """As if the disk had damaged it after its md5 was checked."""
    whole = tar_of({"a/1": b"one" * 1000, "a/2": b"two" * 1000})
    whole = gzip.compress(whole, 0) if packed else whole
    for damaged in (whole[:6000], b"", b"nonsense" * 1000, b"\0" + whole[1:]):
        (tmp_path / "set.tar").write_bytes(damaged)
        with refused(tmp_path / "set.tar"):
            unpack(tmp_path / "set.tar", tmp_path)
        assert everything(tmp_path) == {}
