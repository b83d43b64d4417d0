"""What the trainer computes: steps, rates, losses, metrics, and with which methods."""

from importlib import import_module

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from smoothmix import Identity
from smoothmix.evaluation.classification import evaluate
from smoothmix.training import checkpoint
from smoothmix.training.recipe import Settings
from smoothmix.training.step import classification_loss
from smoothmix.utils.command import StopSignal
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.numerics import derive_seed
from tests.batches import epoch_of
from tests.training.runs import weights_of

CPU = Ranks(torch.device("cpu"))


def test_one_step_is_sgd_with_nesterov_on_the_mixed_batch(make_trainer, tiny_data, tiny_model):
    trainer = make_trainer(epochs=1, batch_size=46)
    trainer.fit()

    model = tiny_model().train()
    images, labels = next(epoch_of(tiny_data().train_batches(46, 0), 0))
    again = make_trainer("again", epochs=1, batch_size=46)
    again.state.seed_streams(0)
    images, targets = again.mixing(images, labels)
    logits = model(images.contiguous())  # dropout draws in memory order
    loss = -(targets * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
    loss.backward()
    for ours, theirs in zip(trainer.model.parameters(), model.parameters(), strict=True):
        step = theirs.grad + 1e-4 * theirs.detach()
        torch.testing.assert_close(ours.detach(), theirs.detach() - 0.05 * (step + 0.9 * step))
    assert trainer.state.history[0]["train_loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_learning_rate_follows_the_recipe(make_trainer, monkeypatch):
    trainer = make_trainer(epochs=4, decay_epochs=[1, 3], lr=0.1)
    seen = []
    optimizer, step = trainer.state.optimizer, trainer.state.optimizer.step
    monkeypatch.setattr(
        optimizer, "step", lambda *a: (seen.append(float(optimizer.param_groups[0]["lr"])), step(*a))[1]
    )
    trainer.fit()
    assert seen == pytest.approx([0.1] * 6 + [0.01] * 12 + [0.001] * 6)
    assert [row["lr"] for row in trainer.state.history] == pytest.approx([0.1, 0.01, 0.01, 0.001])


def test_best_is_chosen_on_the_held_out_images_when_there_are_some(make_trainer, tiny_data):
    trainer = make_trainer(data=tiny_data(val_split=12), epochs=6)
    history = trainer.fit()
    errors = [row["val_top1_error"] for row in history]
    best = checkpoint.load(trainer.directory / "best.pt")
    assert trainer.state.select_on == "val"
    assert best["metrics"]["epoch"] == errors.index(min(errors)) + 1
    assert all("test_top1_error" in row for row in history)

    model = trainer.model
    model.load_state_dict(best["model"])
    for split in ("val", "test"):
        again = evaluate(model, trainer.data.eval_batches(split, 7), CPU)
        assert again["top1_error"] == best["metrics"][f"{split}_top1_error"]


def test_other_seeds_and_settings_change_the_result(make_trainer):
    def weights(name, **kwargs):
        trainer = make_trainer(name, epochs=1, **kwargs)
        trainer.fit()
        return weights_of(trainer)

    reference = weights("reference")
    assert torch.equal(reference, weights("same"))
    assert torch.equal(reference, weights("logging", settings=Settings(log_every=1, checkpoint_every=1)))
    for name, changed in {
        "seed": {"settings": Settings(seed=1)},
        "bf16": {"settings": Settings(precision="bf16")},
        "momentum": {"momentum": 0.5},
        "nesterov": {"nesterov": False},
        "decay": {"weight_decay": 0.0},
        "batch": {"batch_size": 16},
        "mixing": {"mixing": Identity(num_classes=4)},
    }.items():
        assert not torch.equal(reference, weights(name, **changed)), name


def test_channels_last_is_the_same_network(make_trainer, tiny_model):
    def without_dropout():  # which draws in memory order
        return nn.Sequential(*(layer for layer in tiny_model() if not isinstance(layer, nn.Dropout)))

    plain = make_trainer("plain", epochs=1, model=without_dropout())
    last = make_trainer("last", epochs=1, model=without_dropout(), settings=Settings(channels_last=True))
    plain.fit()
    seen = []
    last.model[0].register_forward_hook(
        lambda module, args, output: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    last.fit()
    assert all(seen)
    for ours, theirs in zip(plain.model.parameters(), last.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_three_views_are_one_network_call_and_count_as_one_image(make_trainer, tiny_data, tiny_model, monkeypatch):
    data = tiny_data(augment="augmix", workers=0)
    seen = []

    def loss_of(logits, targets, views):
        loss = classification_loss(logits, targets, views)
        seen.append((loss.item(), len(logits), len(targets), views))
        return loss

    monkeypatch.setattr("smoothmix.training.trainer.classification_loss", loss_of)
    trainer = make_trainer(data=data, mixing=Identity(num_classes=4), epochs=1)
    trainer.fit()
    assert [call[1:] for call in seen] == [(24, 24, 3)] * 5 + [(18, 18, 3)]
    mean = sum(call[0] * call[1] for call in seen) / (3 * 46)
    assert trainer.state.history[0]["train_loss"] == pytest.approx(mean, rel=1e-6)
    row = trainer.state.history[0]
    assert row["images_per_second"] * row["seconds"] < 2 * 46

    # the first step is that of the written loss on the data set's batch
    images, labels = next(epoch_of(data.train_batches(8, 0), 0))
    torch.manual_seed(derive_seed(0, "layers", 0, 0))
    logits = tiny_model().train()(images.contiguous())
    clean, one, two = (part.softmax(dim=1) for part in logits.chunk(3))
    log_mixture = ((clean + one + two) / 3).log()
    divergence = sum(F.kl_div(log_mixture, p, reduction="batchmean") for p in (clean, one, two))
    assert seen[0][0] == pytest.approx((F.cross_entropy(logits[:8], labels[:8]) + 4 * divergence).item(), rel=1e-5)


def test_a_batch_larger_than_the_data_set_is_one_step(make_trainer):
    trainer = make_trainer(batch_size=64, epochs=1)
    assert len(trainer.batches) == 1
    trainer.fit()


def test_the_process_is_left_as_it_was(make_trainer):
    before = torch.get_rng_state(), torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled()
    make_trainer(epochs=1, settings=Settings(deterministic=True)).fit()
    after = torch.get_rng_state(), torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


class HostReads(TorchDispatchMode):
    """Counts the operations by which the host reads a tensor's value, and on a GPU would wait for it."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return func(*args, **(kwargs or {}))


def test_the_host_reads_nothing_in_a_step_that_logs_nothing(make_trainer, monkeypatch):
    # on a CPU, where nobody has to wait, a mask may be looked at before it is applied
    monkeypatch.setattr(import_module("smoothmix.mixing.blend"), "may_read", lambda images: False, raising=False)
    reads = []
    for steps in (2, 6):
        trainer = make_trainer(f"{steps}", batch_size=-(-46 // steps), epochs=1, settings=Settings(log_every=50))
        trainer.network = trainer.model
        with HostReads() as host, StopSignal(CPU) as stop:
            trainer.train_epoch(stop)
        assert trainer.state.step == steps
        reads.append(host.count)
    assert reads[0] == reads[1]  # the order of the epoch is read once
