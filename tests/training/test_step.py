"""What a step is made of: scaled losses, gradients in one buffer, and the pace of the host."""

import itertools
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler

from smoothmix.training.recipe import Settings
from smoothmix.training.step import FlatGradients, Pace
from smoothmix.utils.distributed import Ranks, is_lost_rank
from smoothmix.utils.errors import UserError
from tests.training.runs import weights_of

CPU = Ranks(torch.device("cpu"))


def test_fp16_scales_the_loss_skips_a_step_that_overflows_and_resumes(make_trainer):
    trainer = make_trainer("run", settings=Settings(precision="fp16"))
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    trainer.network = trainer.model.train()
    trainer.state.scaler = GradScaler("cpu", init_scale=1e38)  # overflows in float16
    trainer.train_step(*next(trainer.batches.inputs(0)))
    assert all(map(torch.equal, before, trainer.model.parameters()))
    assert trainer.state.scaler.get_scale() == pytest.approx(5e37)
    trainer.state.scaler = GradScaler("cpu", init_scale=8.0)
    trainer.train_step(*next(trainer.batches.inputs(0)))
    assert not any(map(torch.equal, before, trainer.model.parameters()))
    resumed = make_trainer("resumed", settings=Settings(precision="fp16"))
    resumed.state.load_dict(trainer.state.to_dict())
    assert resumed.state.scaler.get_scale() == 8.0


def test_fp16_trains_as_fp32_does(make_trainer):
    """The weights of one step differ by what float16 rounds, 11 bits, and not by the scale of the loss."""
    steps = []
    for precision in ("fp32", "fp16"):
        trainer = make_trainer(precision, settings=Settings(precision=precision))
        trainer.model[3].p = 0.0  # dropout draws other numbers in another precision
        if precision == "fp16":
            trainer.state.scaler = GradScaler("cpu", init_scale=512.0)
        trainer.network = trainer.model.train()
        trainer.state.seed_streams(0)
        before = weights_of(trainer)
        trainer.train_step(*next(trainer.batches.inputs(0)))
        steps.append(weights_of(trainer) - before)
    assert (steps[1] - steps[0]).norm() / steps[0].norm() < 0.01


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


def test_gradients_lie_in_one_buffer_in_the_format_of_their_weights(monkeypatch):
    """Of two ranks whose sum is three times this one's gradient."""
    monkeypatch.setattr(Ranks, "sum", lambda self, tensor: tensor.mul_(3))
    monkeypatch.setattr(Ranks, "copy_from_main", lambda self, tensors: [tensor.neg_() for tensor in tensors])
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1)).to(memory_format=torch.channels_last)
    model[1].bias.requires_grad_(False)
    before = [weight.detach().clone() for weight in model.parameters()]
    gradients = FlatGradients(model, Ranks(torch.device("cpu"), 0, 2))
    for weight, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(weight, -old if weight.requires_grad else old)  # rank 0's
    model(torch.randn(2, 3, 8, 8)).square().sum().backward()
    own = [weight.grad for weight in model.parameters()]
    gradients.average()
    storage = gradients.buffer.untyped_storage().data_ptr()
    for weight, gradient in zip(model.parameters(), own, strict=True):
        if weight.requires_grad:
            assert torch.equal(weight.grad, 1.5 * gradient)
            assert weight.grad.stride() == weight.stride()
            assert weight.grad.untyped_storage().data_ptr() == storage
    assert gradients.buffer.numel() == sum(len(gradient.flatten()) for gradient in own if gradient is not None)


def test_a_weight_without_a_gradient_is_named():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    gradients = FlatGradients(model, CPU)
    model[1](torch.ones(1, 2)).sum().backward()
    with pytest.raises(UserError, match=r"needs gradients of all weights, and 0\.weight has none; use step=eager"):
        gradients.average()


def test_a_step_that_waits_for_a_lost_rank_ends():
    events = [SimpleNamespace(record=lambda: None, query=lambda done=done: done) for done in (True, False, True)]
    pace = Pace(torch.device("cuda"), 0.01, iter(events).__next__)
    for _ in events:
        pace()
    with pytest.raises(Exception, match=r"a train step was not done within 0\.01 seconds") as raised:
        pace.finish()
    assert is_lost_rank(raised.value)
    pace.finish()
    assert not pace.events
