"""A disk that is full: what was there stays, and one sentence says so."""

import json
import resource
import signal
import subprocess
from contextlib import contextmanager

import pytest
import torch

from smoothmix.config.command_line import compose
from smoothmix.config.run_directory import lock
from smoothmix.config.schema import check
from smoothmix.training import checkpoint
from smoothmix.utils.command import explanation
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import write_text

ROOM = 2000  # bytes


@contextmanager
def full_beyond(size):
    """Let no file grow beyond `size` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.fixture
def file_system(tmp_path):
    """A folder that is a file system of its own, of 64 KiB and empty."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a file system here, which needs root: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def state(number):
    return {"model": {"weight": torch.full((1000,), float(number))}, "config": {}, "epoch": number}


def save(state, path):
    checkpoint.save_atomically(state, path, checkpoint.previous(path))


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path):
    path = tmp_path / "last.pt"
    for number in (1, 2):
        save(state(number), path)
    sentence = r"cannot write .*last.pt \(\[Errno 27\] File too large\); free space or fix its folder"
    for room in (ROOM, 3000, 4001, 5000):  # wherever in the file it ends
        with full_beyond(room), pytest.raises(UserError, match=sentence):
            save(state(3), path)
    assert checkpoint.load(path)["epoch"] == 2
    assert checkpoint.load(checkpoint.previous(path))["epoch"] == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.previous.pt", "last.pt"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "summary.json", "table1.md"])
def test_a_small_file_that_does_not_fit_leaves_the_one_before(tmp_path, name):
    path = tmp_path / name
    write_text(path, "before")
    with full_beyond(ROOM), pytest.raises(UserError, match=f"cannot write .*{name} .*File too large"):
        write_text(path, json.dumps(["x" * ROOM]))
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's
def test_curves_that_do_not_fit_are_one_sentence(make_trainer):
    log = make_trainer().log
    log.begin(46)
    with full_beyond(ROOM), pytest.raises(OSError, match="File too large") as error:  # noqa: PT012
        for _ in range(1000):
            log.loss(1.0)
            log.flush()
    assert "(File too large); free space" in explanation(error.value)


def test_a_damaged_checkpoint_is_found_and_the_one_before_is_used(tmp_path):
    path = tmp_path / "last.pt"
    for number in (1, 2):
        save(state(number) | {"step": 0}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((4,), 2.0).numpy().tobytes()) + 5] ^= 1  # one bit of a weight
    path.write_bytes(content)
    found, note = checkpoint.load_newest(path)
    assert found["epoch"] == 1
    assert "is damaged (the checksum of " in note
    assert note.endswith("; resuming from the one before it, epoch 2, step 0")
    checkpoint.restore_previous(path)
    assert checkpoint.load(path)["epoch"] == 1
    assert (tmp_path / "last.damaged.pt").read_bytes() == content


def test_a_checkpoint_on_a_full_file_system_leaves_the_one_before(file_system):
    path = file_system / "last.pt"
    for number in (1, 2):
        save(state(number), path)
    big = state(3) | {"model": {"weight": torch.zeros(20_000)}}
    with pytest.raises(UserError, match=r"cannot write .*last.pt \(\[Errno 28\] No space left on device\); free space"):
        save(big, path)
    assert checkpoint.load(path)["epoch"] == 2
    assert sorted(file.name for file in file_system.iterdir()) == ["last.previous.pt", "last.pt"]


def test_a_read_only_file_system_is_one_sentence(file_system):
    write_text(file_system / "summary.json", "before")
    subprocess.run(["mount", "-o", "remount,ro", file_system], check=True)
    with pytest.raises(UserError, match=r"cannot write to .*run .Read-only file system.; choose another output="):
        lock(file_system / "run", check(compose("train")))
    with pytest.raises(UserError, match=r"cannot write .*summary.json .*Read-only file system"):
        write_text(file_system / "summary.json", "after")
    assert (file_system / "summary.json").read_text() == "before"
