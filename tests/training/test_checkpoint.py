"""Checkpoints that were damaged or made by a stranger, on resume."""

import os
import pickle
import random

import pytest
import torch

from smoothmix.training import checkpoint
from smoothmix.training.recipe import Settings
from smoothmix.utils.errors import UserError
from tests.mistakes import refused


class Bomb:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.fixture
def trainer(make_trainer):
    """Return a function that makes a trainer in tmp_path / "run"."""
    return lambda: make_trainer(settings=Settings(checkpoint_every=2))


@pytest.fixture
def stopped(trainer, stop, tmp_path):
    """The state of a run that was stopped in the middle of its second epoch."""
    stop(trainer(), 9)
    state = checkpoint.load(tmp_path / "run" / "last.pt")
    assert (state["epoch"], state["step"]) == (1, 2)
    return state


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_bomb_in_place_of_the_checkpoint_is_not_run(trainer, stopped, tmp_path, zipped, protocol):
    canary, path = tmp_path / "canary", tmp_path / "run" / "last.pt"
    for previous in (tmp_path / "run").glob("last.*.pt"):  # nothing else to resume from
        previous.unlink()
    for place in ("model", "config", "history", "streams"):
        state = {**stopped, place: {"x": Bomb(canary)}}
        torch.save(state, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        with refused(path, "not loaded"):
            trainer().fit()
    path.write_bytes(pickle.dumps(Bomb(canary), protocol))
    with refused(path, "not loaded"):
        trainer().fit()
    assert not canary.exists()
    with pytest.raises(Exception, match=r"."):  # the canary can sing; torch stumbles afterwards
        torch.load(path, weights_only=False)
    assert canary.exists()


@pytest.mark.parametrize("key", ["data", "step", "epoch", "history", "streams", "totals", "optimizer", "world_size"])
def test_a_checkpoint_without_one_of_its_parts_is_one_sentence(trainer, stopped, tmp_path, key):
    path = tmp_path / "run" / "last.pt"
    for value in ("gone", None, {"x": 1}, [1], "x", -1, 10**9):
        state = {**stopped, key: value}
        if value == "gone":
            del state[key]
        checkpoint.save_atomically(state, path)
        for previous in (tmp_path / "run").glob("last.*.pt"):  # nothing else to resume from
            previous.unlink()
        with refused(tmp_path / "run"):
            trainer().fit()


@pytest.mark.parametrize("content", [b"", b"hello", {"model": {}}, {"format": 1}])
def test_other_files_are_named(tmp_path, content):
    path = tmp_path / "last.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with refused(path):
        checkpoint.load(path)


@pytest.mark.parametrize("count", [80, pytest.param(5000, marks=pytest.mark.slow)])
def test_damaged_bytes_are_the_same_state_or_one_sentence(tmp_path, tiny_model, count):
    """Bytes flipped, cut out and put in, anywhere."""
    path = tmp_path / "last.pt"
    checkpoint.save_atomically({"model": tiny_model().state_dict(), "config": {"who": "test", "p": 0.5}}, path)
    good, whole, rng, refused = checkpoint.load(path), path.read_bytes(), random.Random(0), 0
    for _ in range(count):
        at, how = rng.randrange(len(whole)), rng.choice(["flip", "cut", "insert"])
        damaged = bytearray(whole)
        if how == "flip":
            damaged[at] ^= 1 << rng.randrange(8)
        elif how == "cut":
            del damaged[at : at + rng.randint(1, 50)]
        else:
            damaged[at:at] = rng.randbytes(rng.randint(1, 20))
        path.write_bytes(damaged)
        try:
            found = checkpoint.load(path)
        except UserError:
            refused += 1
            continue
        assert found["config"] == good["config"], (how, at)
        assert found["model"].keys() == good["model"].keys(), (how, at)
        assert all(torch.equal(found["model"][name], good["model"][name]) for name in good["model"]), (how, at)
    assert refused > count / 2
