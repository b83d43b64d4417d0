import json
import os
import signal
from importlib import import_module

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import v2

from smoothmix import Cutout, HideAndSeek, Identity, LabelSmoothing, ManifoldMixup, SmoothMixC
from smoothmix.evaluation.classification import evaluate
from smoothmix.training import checkpoint
from smoothmix.training.losses import classification_loss
from smoothmix.training.recipe import Recipe, Settings
from smoothmix.training.trainer import Trainer
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError
from smoothmix.utils.seeding import derive_seed
from smoothmix.utils.signals import Stopped, StopSignal

CPU = Ranks(torch.device("cpu"))
TIMES = {"seconds", "images_per_second"}


@pytest.fixture
def make_trainer(tmp_path, tiny_data, tiny_model):
    def make(name="run", *, data=None, model=None, mixing=None, settings=None, ranks=CPU, **recipe):
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        generator = torch.Generator()
        return Trainer(
            model or tiny_model(),
            mixing or SmoothMixC(num_classes=4, generator=generator),
            data or tiny_data(),
            Recipe(**({"name": "test", "epochs": 3, "batch_size": 8, "lr": 0.05, "decay_epochs": [2]} | recipe)),
            settings or Settings(),
            directory,
            ranks,
            generator,
            {"who": "test"},
        )

    return make


def without_times(history):
    return [{key: value for key, value in row.items() if key not in TIMES} for row in history]


def assert_same_run(one, other):
    """Weights, statistics, momentum, metrics and both checkpoint files, bit for bit."""
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name
    momenta = [[entry["momentum_buffer"] for entry in run.state.optimizer.state.values()] for run in (one, other)]
    assert all(map(torch.equal, *momenta))
    assert without_times(one.state.history) == without_times(other.state.history)
    for file in ("last.pt", "best.pt"):
        ours, theirs = (checkpoint.load(trainer.directory / file)["model"] for trainer in (one, other))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    lines = [(t.directory / "metrics.jsonl").read_text().splitlines() for t in (one, other)]
    assert without_times(map(json.loads, lines[0])) == without_times(map(json.loads, lines[1]))


def test_one_step_is_sgd_with_nesterov_on_the_mixed_batch(make_trainer, tiny_data, tiny_model):
    trainer = make_trainer(epochs=1, batch_size=46)
    trainer.fit()

    model = tiny_model().train()
    images, labels = next(tiny_data().train_batches(46, 0).epoch(0))
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


def test_a_run_stopped_at_any_step_and_started_again_is_the_unbroken_run(make_trainer, monkeypatch):
    unbroken = make_trainer("unbroken")
    unbroken.fit()
    for stop_at in range(1, 19):  # 6 steps an epoch: inside epochs, at their last step, and in the evaluation after it
        requests = 0

        def asked(self, stop_at=stop_at):
            nonlocal requests
            requests += 1
            return requests == stop_at

        monkeypatch.setattr("smoothmix.utils.signals.StopSignal.requested", asked)
        with pytest.raises(Stopped) as stopped:
            make_trainer(f"stopped{stop_at}").fit()
        assert stopped.value.code == 128 + signal.SIGTERM
        monkeypatch.undo()
        resumed = make_trainer(f"stopped{stop_at}")
        resumed.fit()
        assert_same_run(unbroken, resumed)


def test_a_checkpoint_of_every_n_steps_resumes_to_the_same_end(make_trainer, monkeypatch):
    unbroken = make_trainer("unbroken")
    unbroken.fit()

    crashing = make_trainer("crashed", settings=Settings(checkpoint_every=2))
    steps = 0

    def crash(*args, step=crashing.state.optimizer.step):
        nonlocal steps
        steps += 1
        if steps == 12:  # the sixth step of the second epoch: its fourth was saved
            raise OSError("power cut")
        return step(*args)

    monkeypatch.setattr(crashing.state.optimizer, "step", crash)
    with pytest.raises(OSError, match="power cut"):
        crashing.fit()
    saved = checkpoint.load(crashing.directory / "last.pt")
    assert (saved["epoch"], saved["step"]) == (1, 4)
    resumed = make_trainer("crashed", settings=Settings(checkpoint_every=2))
    resumed.fit()
    assert_same_run(unbroken, resumed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_saves_and_leaves_and_the_handlers_are_put_back(make_trainer, number):
    before = signal.getsignal(number)
    trainer = make_trainer(epochs=10_000)
    mixing, steps = trainer.mixing, 0

    def mixing_and_kill(images, labels):
        nonlocal steps
        steps += 1
        if steps == 15:
            os.kill(os.getpid(), number)
        return mixing(images, labels)

    trainer.mixing = mixing_and_kill
    with pytest.raises(SystemExit) as stopped:
        trainer.fit()
    assert stopped.value.code == 128 + number
    assert signal.getsignal(number) is before
    saved = checkpoint.load(trainer.directory / "last.pt")
    assert (saved["epoch"], saved["step"]) == (2, 3)  # the step that was under way, of 6 an epoch


def test_only_a_run_that_was_stopped_and_saved_writes_the_file(make_trainer, monkeypatch, tmp_path):
    """Not one that finished, and not one that failed."""
    file = tmp_path / "stopped.txt"
    monkeypatch.setenv("SMOOTHMIX_STOPPED", str(file))
    make_trainer("finished", epochs=1).fit()
    assert not file.exists()

    failing = make_trainer("failing", epochs=1)
    failing.mixing = lambda images, labels: os.kill(os.getpid(), signal.SIGTERM) or images / 0
    with pytest.raises(Exception, match="unpack"):
        failing.fit()
    assert not file.exists()

    trainer = make_trainer("stopped", epochs=1)
    save = trainer.save
    monkeypatch.setattr(trainer, "save", lambda: (save(), os.kill(os.getpid(), signal.SIGTERM)))
    with pytest.raises(Stopped):
        trainer.fit()
    assert file.read_text() == f"all 1 epochs in {trainer.directory}\n"

    monkeypatch.setenv("SMOOTHMIX_STOPPED", str(tmp_path / "nowhere" / "stopped"))
    trainer = make_trainer("unwritable", epochs=1)
    monkeypatch.setattr(trainer.checkpoints, "save_best", lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(UserError, match="cannot write"):
        trainer.fit()


def test_a_loss_that_is_not_finite_stops_the_run_and_reaches_no_checkpoint(make_trainer):
    trainer = make_trainer(settings=Settings(log_every=2))
    real, steps = trainer.mixing, 0

    def poisoned(images, labels):
        nonlocal steps
        steps += 1
        images, targets = real(images, labels)
        return (images * float("nan") if steps == 8 else images), targets

    trainer.mixing = poisoned
    with pytest.raises(UserError, match=r"the loss is not finite .* by step 2 of epoch 2"):
        trainer.fit()
    saved = checkpoint.load(trainer.directory / "last.pt")
    assert saved["epoch"] == 1
    assert all(tensor.isfinite().all() for tensor in saved["model"].values())


def test_a_gradient_that_is_not_finite_reaches_no_checkpoint(make_trainer, monkeypatch):
    trainer = make_trainer(epochs=1)
    step = trainer.state.optimizer.step

    def poisoned(*args):
        if trainer.state.step == 5:  # the last step, so that no later loss can tell
            next(iter(trainer.model.parameters())).grad[0, 0, 0, 0] = float("inf")
        return step(*args)

    monkeypatch.setattr(trainer.state.optimizer, "step", poisoned)
    monkeypatch.setattr("smoothmix.training.trainer.evaluate", lambda *a, **k: {"top1_error": 0.0})
    with pytest.raises(UserError, match="momentum is not finite"):
        trainer.fit()
    assert not (trainer.directory / "last.pt").exists()


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
    assert trainer.select_on == "val"
    assert best["metrics"]["epoch"] == errors.index(min(errors)) + 1
    assert all("test_top1_error" in row for row in history)

    model = trainer.model
    model.load_state_dict(best["model"])
    for split in ("val", "test"):
        again = evaluate(model, trainer.data.eval_batches(split, 7), CPU)
        assert again["top1_error"] == best["metrics"][f"{split}_top1_error"]


def test_best_is_repaired_when_the_process_ended_between_the_two_files(make_trainer):
    trainer = make_trainer(epochs=1)
    trainer.fit()
    (trainer.directory / "best.pt").unlink()
    make_trainer(epochs=1).fit()
    best = checkpoint.load(trainer.directory / "best.pt")
    assert all(torch.equal(best["model"][name], tensor) for name, tensor in trainer.model.state_dict().items())


def test_metrics_lines_of_epochs_that_were_lost_are_dropped(make_trainer):
    trainer = make_trainer()
    trainer.fit()
    metrics = trainer.directory / "metrics.jsonl"
    whole = metrics.read_text()
    metrics.write_text(whole + whole.splitlines()[-1] + '\n{"epoch": 9')
    make_trainer().fit()
    assert metrics.read_text() == whole


def test_other_seeds_and_knobs_change_the_result(make_trainer):
    def weights(name, **kwargs):
        trainer = make_trainer(name, epochs=1, **kwargs)
        trainer.fit()
        return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])

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


def test_torchvisions_cutmix_works_in_the_trainer_and_resumes(make_trainer, monkeypatch):
    unbroken = make_trainer("unbroken", mixing=v2.CutMix(num_classes=4))
    unbroken.fit()
    requests = 0

    def asked(self):
        nonlocal requests
        requests += 1
        return requests == 9

    monkeypatch.setattr("smoothmix.utils.signals.StopSignal.requested", asked)
    with pytest.raises(Stopped):
        make_trainer("stopped", mixing=v2.CutMix(num_classes=4)).fit()
    monkeypatch.undo()
    resumed = make_trainer("stopped", mixing=v2.CutMix(num_classes=4))
    resumed.fit()
    assert_same_run(unbroken, resumed)


def manifold_mixup(make_trainer, name, **kwargs):
    """A trainer whose network the strategy is attached to, drawing from the trainer's generator, as train.py has it."""
    trainer = make_trainer(name, mixing=ManifoldMixup(num_classes=4, stages=["1", "2"]), **kwargs)
    trainer.mixing.generator = trainer.state.generator
    trainer.mixing.attach(trainer.model)
    return trainer


def test_manifold_mixup_stopped_at_any_step_ends_as_the_unbroken_run(make_trainer, monkeypatch):
    """The layers go on from the saved state of torch's CPU generator, which dropout draws from too."""
    unbroken = manifold_mixup(make_trainer, "unbroken", epochs=2)
    layers = []
    draw = unbroken.mixing.draw_layer
    unbroken.mixing.draw_layer = lambda: layers.append(draw()) or layers[-1]
    unbroken.fit()
    assert len(set(layers)) == 3
    for stop_at in range(1, 12):  # 6 steps an epoch
        requests = 0

        def asked(self, stop_at=stop_at):
            nonlocal requests
            requests += 1
            return requests == stop_at

        monkeypatch.setattr("smoothmix.utils.signals.StopSignal.requested", asked)
        with pytest.raises(Stopped):
            manifold_mixup(make_trainer, f"stopped{stop_at}", epochs=2).fit()
        monkeypatch.undo()
        torch.manual_seed(stop_at)  # another process has drawn other numbers
        resumed = manifold_mixup(make_trainer, f"stopped{stop_at}", epochs=2)
        resumed.fit()
        assert_same_run(unbroken, resumed)


def test_the_layers_of_manifold_mixup_belong_to_seed_and_epoch(make_trainer):
    def layers(name, seed):
        trainer = manifold_mixup(make_trainer, name, epochs=4, settings=Settings(seed=seed))
        drawn, draw = [], trainer.mixing.draw_layer
        trainer.mixing.draw_layer = lambda: drawn.append(draw()) or drawn[-1]
        trainer.fit()
        return drawn

    first = layers("first", 0)
    assert layers("again", 0) == first
    assert layers("other", 1) != first
    assert first[:6] != first[6:12]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_manifold_mixup_trains_and_is_not_the_plain_network(make_trainer, precision):
    settings = Settings(precision=precision, channels_last=precision == "bf16")
    trainer = manifold_mixup(make_trainer, "mixed", settings=settings, epochs=1)
    trainer.fit()
    plain = make_trainer("plain", settings=settings, epochs=1, mixing=Identity(num_classes=4))
    plain.fit()
    ours, theirs = (torch.cat([p.detach().flatten() for p in t.model.parameters()]) for t in (trainer, plain))
    assert torch.isfinite(ours).all()
    assert not torch.equal(ours, theirs)


@pytest.mark.parametrize("build", [HideAndSeek, LabelSmoothing], ids=lambda build: build.__name__)
def test_hide_and_seek_and_label_smoothing_train(make_trainer, build):
    trainer = make_trainer(build.__name__, mixing=build(num_classes=4), epochs=2)
    history = trainer.fit()
    assert history[-1]["train_loss"] < history[0]["train_loss"]


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
    images, labels = next(data.train_batches(8, 0).epoch(0))
    torch.manual_seed(derive_seed(0, "layers", 0, 0))
    logits = tiny_model().train()(images.contiguous())
    clean, one, two = (part.softmax(dim=1) for part in logits.chunk(3))
    log_mixture = ((clean + one + two) / 3).log()
    divergence = sum(F.kl_div(log_mixture, p, reduction="batchmean") for p in (clean, one, two))
    assert seen[0][0] == pytest.approx((F.cross_entropy(logits[:8], labels[:8]) + 4 * divergence).item(), rel=1e-5)


@pytest.mark.parametrize(("augment", "workers"), [("augmix", 0), ("augmix", 1), ("autoaugment", 1)])
def test_a_run_with_augmentation_in_workers_resumes_bit_for_bit(make_trainer, tiny_data, monkeypatch, augment, workers):
    def trainer(name):
        data = tiny_data(augment=augment, workers=workers)
        return make_trainer(name, data=data, mixing=Identity(num_classes=4), epochs=2)

    unbroken = trainer("unbroken")
    unbroken.fit()
    for stop_at in (3, 6, 9):  # in the first epoch, at its end, in the second
        requests = 0

        def asked(self, stop_at=stop_at):
            nonlocal requests
            requests += 1
            return requests == stop_at

        monkeypatch.setattr("smoothmix.utils.signals.StopSignal.requested", asked)
        with pytest.raises(Stopped):
            trainer(f"stopped{stop_at}").fit()
        monkeypatch.undo()
        resumed = trainer(f"stopped{stop_at}")
        resumed.fit()
        assert_same_run(unbroken, resumed)


@pytest.mark.parametrize("strategy", [SmoothMixC, Cutout])
def test_three_views_are_not_mixed(make_trainer, tiny_data, strategy):
    data = tiny_data(augment="augmix", workers=0)
    with pytest.raises(UserError, match=f"{strategy.__name__} would change the 3 views .*; use mixing=identity"):
        make_trainer(data=data, mixing=strategy(num_classes=4))
    make_trainer(data=tiny_data(augment="autoaugment", workers=0), mixing=strategy(num_classes=4))


def test_a_batch_larger_than_the_data_set_is_one_step(make_trainer):
    trainer = make_trainer(batch_size=64, epochs=1)
    assert len(trainer.batches) == 1
    trainer.fit()


def test_a_run_is_not_continued_on_other_images(make_trainer, tiny_data):
    make_trainer(epochs=1).fit()
    with pytest.raises(UserError, match="trained on other images"):
        make_trainer(data=tiny_data(seed=1), epochs=2).fit()


def test_a_checkpoint_of_another_architecture_is_refused(make_trainer):
    make_trainer(epochs=1).fit()
    other = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    with pytest.raises(UserError, match="holds another architecture"):
        make_trainer(model=other, epochs=2).fit()


def test_a_run_goes_on_in_the_precision_it_began_in(make_trainer):
    make_trainer(epochs=1, settings=Settings(precision="bf16")).fit()
    with pytest.raises(UserError, match="was trained in bf16, and precision=auto means fp32 on cpu"):
        make_trainer(epochs=2).fit()


def test_a_middle_of_an_epoch_needs_the_same_number_of_ranks(make_trainer, monkeypatch):
    trainer = make_trainer(settings=Settings(checkpoint_every=4))
    monkeypatch.setattr(trainer, "finish_epoch", lambda stop: (_ for _ in ()).throw(OSError("power cut")))
    with pytest.raises(OSError, match="power cut"):
        trainer.fit()
    trainer = make_trainer()
    trainer.checkpoints.ranks = Ranks(torch.device("cpu"), 0, 2)
    monkeypatch.setattr(Ranks, "gather", lambda self, value: [value, value])
    with pytest.raises(UserError, match="middle of epoch 1 by 1 ranks on cpu, and now there are 2 ranks on cpu"):
        trainer.checkpoints.resume(3, 6)


def test_a_batch_that_the_ranks_cannot_share_is_refused(make_trainer):
    with pytest.raises(UserError, match=r"recipe.batch_size=8 cannot be shared evenly by 3 ranks"):
        make_trainer(ranks=Ranks(torch.device("cpu"), 0, 3))


def test_a_signal_during_the_last_save_is_not_lost(make_trainer, monkeypatch):
    trainer = make_trainer(epochs=1)
    monkeypatch.setattr(trainer.checkpoints, "save_best", lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
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
    monkeypatch.setattr(import_module("smoothmix.mixing.blend"), "_may_read", lambda images: False, raising=False)
    reads = []
    for steps in (2, 6):
        trainer = make_trainer(f"{steps}", batch_size=-(-46 // steps), epochs=1, settings=Settings(log_every=50))
        trainer.network = trainer.model
        with HostReads() as host, StopSignal(CPU) as stop:
            trainer.train_epoch(stop)
        assert trainer.state.step == steps
        reads.append(host.count)
    assert reads[0] == reads[1]  # the order of the epoch is read once
