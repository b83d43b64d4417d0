"""What a step is made of: scaled losses, and the pace of the host."""

import itertools
import time
from types import SimpleNamespace

import pytest
import torch
from torch.amp.grad_scaler import GradScaler

from smoothmix.training.recipe import Settings
from smoothmix.training.step import Pace
from smoothmix.utils.distributed import Ranks
from tests.training.runs import weights_of


def test_an_fp16_step_that_overflows_changes_nothing_and_the_next_is_the_first(make_trainer, monkeypatch):
    """Whatever the memory held before: here all that is not initialised is 1000."""
    monkeypatch.setattr("torch.empty_like", lambda like, **options: torch.full_like(like, 1000.0, **options))
    runs = []
    for name, scales in (("overflows", (1e38, 8.0)), ("does not", (8.0,))):
        trainer = make_trainer(name, settings=Settings(precision="fp16"))
        trainer.network, before = trainer.model.train(), weights_of(trainer)
        for scale in scales:
            trainer.state.scaler = GradScaler("cpu", init_scale=scale)
            trainer.state.seed_streams(0)
            trainer.train_step(*next(trainer.batches.inputs(0)))
            assert torch.equal(weights_of(trainer), before) == (scale == 1e38)
            assert trainer.state.scaler.get_scale() == pytest.approx(5e37 if scale == 1e38 else 8.0)
        runs.append((weights_of(trainer), trainer.state.to_dict()["optimizer"]["state"]))
    (weights, momentum), (expected, expected_momentum) = runs
    assert torch.equal(weights, expected)
    for number, entry in expected_momentum.items():
        assert torch.equal(momentum[number]["momentum_buffer"], entry["momentum_buffer"])
    resumed = make_trainer("resumed", settings=Settings(precision="fp16"))
    resumed.state.load_dict(trainer.state.to_dict())
    assert resumed.state.scaler.get_scale() == 8.0


def test_fp16_trains_as_fp32_does(make_trainer):
    """The weights after two steps differ by what float16 rounds, 11 bits, and not by the scale of the loss."""
    changes = []
    for precision in ("fp32", "fp16"):
        trainer = make_trainer(precision, settings=Settings(precision=precision))
        trainer.model[3].p = 0.0  # dropout draws other numbers in another precision
        trainer.network, before = trainer.model.train(), weights_of(trainer)
        batch = next(trainer.batches.inputs(0))
        done = 0
        while done < 2:  # the default scale overflows at first
            trainer.state.seed_streams(done)
            scale = trainer.state.scaler.get_scale()
            trainer.train_step(*batch)
            done += trainer.state.scaler.get_scale() >= scale
        changes.append(weights_of(trainer) - before)
    assert (changes[1] - changes[0]).norm() / changes[0].norm() < 0.01


def test_speed_counts_what_a_device_has_done_not_what_was_queued(make_trainer, monkeypatch):
    """A device that takes 20 ms per step, and a host that takes no time to queue them all."""
    clock, done_at = [0.0], [0.0]

    def launch(function, variant, *inputs):
        function(*inputs)
        done_at[0] = max(done_at[0], clock[0]) + 0.02

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(Ranks, "synchronize", lambda self: clock.__setitem__(0, max(clock[0], done_at[0])))
    trainer = make_trainer("run", epochs=1)
    trainer.launch = launch
    (row,) = trainer.fit()
    steps, images = len(trainer.batches), trainer.data.sizes["train"]
    assert images / row["images_per_second"] == pytest.approx(0.02 * steps)
    assert row["seconds"] == pytest.approx(0.02 * steps)


def test_kernels_are_searched_for_where_full_batches_are_trained_on(make_trainer):
    """Not for the last, smaller batch of an epoch, nor for an evaluation."""
    trainer, seen = make_trainer(epochs=1), {}
    trainer.model.register_forward_hook(
        lambda model, _, out: seen.setdefault((model.training, len(out)), set()).add(torch.backends.cudnn.benchmark)
    )
    trainer.fit()
    assert seen == {(True, 8): {True}, (True, 6): {False}, (False, 23): {False}}


def test_the_host_is_at_most_two_steps_ahead():
    log, numbers = [], itertools.count()

    def event():
        number = next(numbers)
        return SimpleNamespace(
            record=lambda: log.append(("queued", number)), synchronize=lambda: log.append(("done", number))
        )

    pace = Pace(torch.device("cuda"), event=event)
    for _ in range(4):
        pace()
    assert log == [("queued", 0), ("queued", 1), ("queued", 2), ("done", 0), ("queued", 3), ("done", 1)]
