"""Files are whole, leave nothing behind, and are never written through a symbolic link."""

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from smoothmix.utils import files
from smoothmix.utils.files import (
    hold,
    is_held,
    make_folder,
    open_no_follow,
    read_object,
    read_text,
    replacing,
    write_text,
)
from tests.commands import ROOT, python
from tests.mistakes import one_line, refused

KILLED = """
import os, signal, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from smoothmix.utils.files import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write("half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def victim(tmp_path):
    """A file outside of the folder that is written to; what is in it is checked at the end."""
    path = tmp_path / "victim"
    path.write_text("precious")
    yield path
    assert path.read_text() == "precious"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_links_in_the_place_of_a_file_or_of_its_part_are_replaced_or_ignored(folder, victim):
    for name in ("summary.json", "summary.json.part", ".summary.json.part", ".summary.json.0.part"):
        (folder / name).symlink_to(victim)
    write_text(folder / "summary.json", "new")
    assert (folder / "summary.json").read_text() == "new"
    assert not (folder / "summary.json").is_symlink()


def test_a_link_in_the_place_of_a_lock_is_one_sentence(folder, victim):
    (folder / ".lock").symlink_to(victim)
    with refused(folder / ".lock"):
        hold(folder / ".lock", folder)
    with refused(folder / ".lock"):
        open_no_follow(folder / ".lock", os.O_WRONLY | os.O_TRUNC)


def test_what_a_killed_process_left_is_removed_by_the_next_one(folder):
    assert python("-c", KILLED, folder / "a[1].json").returncode == -9
    (left,) = folder.iterdir()
    assert left.read_text() == "half"
    write_text(folder / "b.json", "another file")
    assert left.exists()
    write_text(folder / "a[1].json", "whole")
    assert sorted(path.name for path in folder.iterdir()) == ["a[1].json", "b.json"]


def test_two_writers_of_one_file_at_a_time_each_write_a_whole_one(folder):
    path = folder / "table.md"
    with replacing(path) as one:
        one.write("one")
        one.flush()
        write_text(path, "another")
        assert path.read_text() == "another"
    assert path.read_text() == "one"
    texts = [str(i) * 1000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: [write_text(path, text) for _ in range(5)], texts))
    assert path.read_text() in texts
    assert [file.name for file in folder.iterdir()] == ["table.md"]


def test_an_error_in_the_block_leaves_the_file_and_no_part(folder):
    write_text(folder / "a", "before")
    with pytest.raises(ZeroDivisionError), replacing(folder / "a") as file:
        file.write(str(1 / 0))
    assert (folder / "a").read_text() == "before"
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_text_is_utf_8_in_every_locale(folder):
    code = "import sys; from pathlib import Path; from smoothmix.utils.files import write_text; "
    code += "write_text(Path(sys.argv[1]), '\\u0394 \\u00b1')"
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code, str(folder / "a")], cwd=ROOT, env=environment, check=True)
    assert (folder / "a").read_bytes() == "\u0394 \u00b1".encode()


@pytest.mark.timeout(20)
def test_a_pipe_in_the_place_of_a_lock_keeps_nobody_waiting(folder):
    os.mkfifo(folder / ".lock")
    assert not is_held(folder / ".lock")


def test_a_forked_child_that_outlives_its_parent_keeps_no_lock(folder):
    file = hold(folder / ".lock", folder)
    begun, begin = os.pipe()
    child = os.fork()
    if not child:  # as a loader's worker does whose parent is killed
        os.write(begin, b"!")
        signal.pause()
    try:
        os.read(begun, 1)
        assert is_held(folder / ".lock")
        os.close(file.fileno())
        assert not is_held(folder / ".lock")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with suppress(OSError):
            file.close()


def test_a_lock_names_who_has_it_and_ends_with_the_file(folder):
    with hold(folder / ".lock", folder):
        assert is_held(folder / ".lock")
        with refused(folder.name, os.getpid()):
            hold(folder / ".lock", folder)
    assert not is_held(folder / ".lock")
    hold(folder / ".lock", folder).close()


# ---- small files that a stranger may have made


@pytest.mark.timeout(10)
def test_only_small_regular_files_are_read(tmp_path, monkeypatch):
    path = tmp_path / "a"
    os.mkfifo(path)
    (tmp_path / "zero").symlink_to("/dev/zero")
    for special in (path, tmp_path / "zero"):
        with refused("regular file", error=ValueError):
            read_text(special)
    path.unlink()
    path.write_bytes('\ufeff{"a": "ä"}'.encode())
    assert read_object(path) == {"a": "ä"}
    monkeypatch.setattr(files, "SMALL", 7)
    with refused("MiB", error=ValueError):
        read_text(path)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_gets_a_note(folder, monkeypatch, capsys, number):
    """Lustre without flock, NFS without a lock service, EFS."""

    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with hold(folder / ".lock", folder) as file:
        one_line(capsys.readouterr().out[:-1], "note: ", folder, os.strerror(number))
        assert not is_held(folder / ".lock")
        write_text(folder / "summary.json", "{}")
        assert not file.closed


@pytest.mark.parametrize("address", ["s3://bucket/runs", "gs://bucket", "https://host/x"])
def test_an_address_is_no_folder(folder, monkeypatch, address):
    monkeypatch.chdir(folder)
    with refused("output="):
        make_folder(Path(address), "output=")
    assert not list(folder.iterdir())
