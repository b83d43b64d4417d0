"""A disk that is full: what was there stays, and one sentence says so."""

import json
import resource
import signal
from contextlib import contextmanager

import pytest
import torch

from smoothmix.training import checkpoint
from smoothmix.utils.command import explanation
from smoothmix.utils.files import write_text
from tests.mistakes import one_line, refused

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


def state(number):
    return {"model": {"weight": torch.full((1000,), float(number))}, "config": {}, "epoch": number}


def save(state, path):
    checkpoint.save_atomically(state, path, checkpoint.previous(path))


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path):
    path = tmp_path / "last.pt"
    for number in (1, 2):
        save(state(number), path)
    for room in (ROOM, 3000, 4001, 5000):  # wherever in the file it ends
        with full_beyond(room), refused(path, "File too large"):
            save(state(3), path)
    assert checkpoint.load(path)["epoch"] == 2
    assert checkpoint.load(checkpoint.previous(path))["epoch"] == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.previous.pt", "last.pt"]


def test_a_small_file_that_does_not_fit_leaves_the_one_before(tmp_path):
    path = tmp_path / "summary.json"
    write_text(path, "before")
    with full_beyond(ROOM), refused(path, "File too large"):
        write_text(path, json.dumps(["x" * ROOM]))
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's
def test_curves_that_do_not_fit_are_one_sentence(make_trainer):
    log = make_trainer().log
    log.begin(46)
    with full_beyond(ROOM), pytest.raises(OSError, match="File too large") as error:  # noqa: PT012
        for _ in range(1000):
            log.loss(1.0)
            log.flush()
    one_line(explanation(error.value), "File too large", "free space")


def test_a_damaged_checkpoint_is_found_and_the_one_before_is_used(tmp_path):
    path = tmp_path / "last.pt"
    for number in (1, 2):
        save(state(number) | {"step": 0}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((4,), 2.0).numpy().tobytes()) + 5] ^= 1  # one bit of a weight
    path.write_bytes(content)
    found, note = checkpoint.load_newest(path)
    assert found["epoch"] == 1
    one_line(note, path, "checksum", "epoch 2, step 0")
    checkpoint.restore_previous(path)
    assert checkpoint.load(path)["epoch"] == 1
    assert (tmp_path / "last.damaged.pt").read_bytes() == content
