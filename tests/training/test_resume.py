"""A run that was stopped anywhere and resumed is the unbroken run, bit for bit; what cannot be resumed is refused."""

import json
import shlex
import subprocess
from functools import partial

import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from models import PyramidNet
from smoothmix import Identity, ManifoldMixup
from smoothmix.training import checkpoint
from smoothmix.training.recipe import Settings
from smoothmix.utils.distributed import Ranks
from tests.mistakes import refused
from tests.training.runs import assert_same_run

CONFIG = {"dataset": {"name": "d"}, "model": {"name": "m"}, "recipe": {"name": "r"}, "method": "x", "seed": 0}


def written(trainer):
    """Return the record of a finished run as it is in its file."""
    trainer.record("0123abcd").write(trainer.directory / "summary.json")
    return json.loads((trainer.directory / "summary.json").read_text())


def manifold_mixup(make, data, name):
    """Its layers are drawn from torch's CPU generator, as dropout's masks are."""
    return make(name, mixing=ManifoldMixup(num_classes=4, stages=["1", "2"]), epochs=2)


def augmented(augment, workers, make, data, name):
    return make(name, data=data(augment=augment, workers=workers), mixing=Identity(num_classes=4), epochs=2)


def regularised(options, make, data, name):
    torch.manual_seed(0)
    model = PyramidNet(8, alpha=6, num_classes=4, bottleneck=False, **options)
    return make(name, model=model, mixing=Identity(num_classes=4), batch_size=16, epochs=2)


DROP_BLOCK = {"drop_block_keep": [1.0, 0.8, 0.8], "drop_block_size": 2, "drop_block_schedule": "linear"}
CASES = {  # how a trainer is made; at which looks at the stop flag it stops: after each step and in the evaluation
    "SmoothMixC": (lambda make, data, name: make(name), range(1, 19)),
    "torchvision's CutMix": (lambda make, data, name: make(name, mixing=v2.CutMix(num_classes=4)), [9]),
    "ManifoldMixup": (manifold_mixup, range(1, 12)),
    "AugMix": (partial(augmented, "augmix", 0), [3, 6, 9]),
    "AugMix in a worker": (partial(augmented, "augmix", 1), [3, 6, 9]),
    "AutoAugment in a worker": (partial(augmented, "autoaugment", 1), [3, 6, 9]),
    "stochastic depth": (partial(regularised, {"drop_path_rate": 0.25}), [2, 6]),
    "DropBlock": (partial(regularised, DROP_BLOCK), [2, 6]),
    "ShakeDrop": (partial(regularised, {"shake_drop": 0.5}), [2, 6]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_stopped_at_any_step_resumes_to_the_unbroken_end(make_trainer, tiny_data, stop, case):
    make, stops = CASES[case]
    unbroken = make(make_trainer, tiny_data, "unbroken")
    unbroken.fit()
    for number in stops:
        stop(make(make_trainer, tiny_data, f"stopped{number}"), number)
        torch.manual_seed(number)  # another process has drawn other numbers
        resumed = make(make_trainer, tiny_data, f"stopped{number}")
        resumed.fit()
        assert_same_run(unbroken, resumed)


@pytest.fixture
def crashed(make_trainer, monkeypatch):
    """Return a function that makes a trainer whose process ends in step `at`, without a look at the stop flag."""

    def make(name, at, **kwargs):
        trainer = make_trainer(name, **kwargs)

        def crash(*args, step=trainer.state.optimizer.step):
            if trainer.state.epoch * 6 + trainer.state.step == at:
                raise OSError("power cut")
            return step(*args)

        monkeypatch.setattr(trainer.state.optimizer, "step", crash)
        with pytest.raises(OSError, match="power cut"):
            trainer.fit()
        return trainer.directory

    return make


def test_a_checkpoint_of_every_n_steps_resumes_to_the_same_end(make_trainer, crashed):
    unbroken = make_trainer("unbroken")
    unbroken.fit()
    saved = checkpoint.load(crashed("run", 11, settings=Settings(checkpoint_every=2)) / "last.pt")
    assert (saved["epoch"], saved["step"]) == (1, 4)
    resumed = make_trainer(settings=Settings(checkpoint_every=2))
    resumed.fit()
    assert_same_run(unbroken, resumed)


def test_each_start_is_recorded_with_what_ran(make_trainer, crashed, monkeypatch):
    """Two starts at two commits; the top level of the record keeps the first. One that saved nothing is forgotten."""
    commits = iter([("a" * 40, ""), ("b" * 40 + "-dirty", ""), (None, "git is not on the PATH")])
    monkeypatch.setattr("smoothmix.utils.environment._git_commit", lambda: next(commits))
    crashed("run", 2)
    crashed("run", 10, settings=Settings(checkpoint_every=2))
    trainer = make_trainer()
    trainer.config = CONFIG
    trainer.fit()
    record = written(trainer)
    first, second = record["starts"]
    assert (first["epoch"], first["step"], first["git_commit"]) == (1, 0, "b" * 40 + "-dirty")
    assert (second["epoch"], second["step"], second["git_commit"]) == (2, 4, None)
    assert "PATH" in second["git_note"]
    assert record["git_commit"] == first["git_commit"]
    assert {"device", "threads", "versions", "command"} <= record.keys()
    assert "git_note" not in record


@pytest.mark.parametrize("damage", ["missing", "damaged", "of another epoch"])
def test_best_is_written_again_from_last(make_trainer, crashed, damage):
    """The weights of epoch 1, the best; the process may have ended between the two files."""
    unbroken = make_trainer("unbroken", lr=1e-9)  # no later epoch is better
    unbroken.fit()
    best = crashed("run", 8, lr=1e-9, settings=Settings(checkpoint_every=1)) / "best.pt"
    if damage == "of another epoch":
        checkpoint.save_atomically(checkpoint.load(best) | {"metrics": {"epoch": 0}}, best)
    else:
        best.write_bytes(b"PK damaged")
        if damage == "missing":
            best.unlink()
    resumed = make_trainer(lr=1e-9)
    resumed.fit()
    assert_same_run(unbroken, resumed)
    assert checkpoint.load(best)["metrics"] == checkpoint.load(best.with_name("last.pt"))["history"][0]


@pytest.mark.parametrize("best", ["agrees", "disagrees"])
def test_a_last_without_the_best_weights_takes_them_from_best(make_trainer, crashed, capsys, best):
    """Checkpoints of earlier versions."""
    directory = crashed("run", 8, lr=1e-9, settings=Settings(checkpoint_every=1))
    state, exported = (checkpoint.load(directory / name) for name in ("last.pt", "best.pt"))
    kept = state.pop("best")
    checkpoint.save_atomically(state, directory / "last.pt")
    if best == "disagrees":
        checkpoint.save_atomically(exported | {"metrics": {"epoch": 9}}, directory / "best.pt")
    resumed = make_trainer(lr=1e-9)
    assert len(resumed.fit()) == 3
    note = "best.pt does not hold the best epoch so far, 1," in capsys.readouterr().out
    assert (note, (directory / "best.damaged.pt").exists()) == (best == "disagrees",) * 2
    if best == "agrees":
        weights = checkpoint.load(directory / "last.pt")["best"]["model"]
        assert all(torch.equal(weights[name], tensor) for name, tensor in kept["model"].items())
    else:
        assert not (directory / "best.pt").exists()
        assert checkpoint.load(directory / "last.pt")["best"] is None


def test_metrics_lines_of_epochs_that_were_lost_are_dropped(make_trainer):
    trainer = make_trainer()
    trainer.fit()
    metrics = trainer.directory / "metrics.jsonl"
    whole = metrics.read_text()
    metrics.write_text(whole + whole.splitlines()[-1] + '\n{"epoch": 9')
    make_trainer().fit()
    assert metrics.read_text() == whole


def other_images(make, data):
    return make(data=data(seed=1), epochs=2)


def other_architecture(make, data):
    return make(model=nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), epochs=2)


def other_precision(make, data):
    return make(settings=Settings(precision="bf16"), epochs=2)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (other_images, ["images", "dataset.name", "output"]),
        (other_architecture, ["architecture"]),
        (other_precision, ["fp32", "bf16", "precision=fp32"]),
    ],
)
def test_what_is_not_resumed(make_trainer, tiny_data, other, words):
    make_trainer(epochs=1).fit()
    with refused(*words):
        other(make_trainer, tiny_data).fit()


@pytest.mark.parametrize("every", [0, 2])
def test_a_middle_of_an_epoch_needs_the_same_number_of_ranks(make_trainer, stop, monkeypatch, every):
    """The end of the epoch before, on any number, is offered if it is there; the command works."""
    stop(make_trainer(settings=Settings(checkpoint_every=every)), 11)
    trainer = make_trainer()
    with monkeypatch.context() as patch:
        patch.setattr(trainer.checkpoints, "ranks", Ranks(torch.device("cpu"), 0, 2))
        patch.setattr(Ranks, "gather", lambda self, value: [value, value])
        with refused("epoch 2", "1 rank on cpu", "2 ranks on cpu") as refusal:
            trainer.checkpoints.resume(3, 6)
    command = refusal.sentence.partition(" from the end of epoch 1 on any number: ")[2]
    assert bool(command) == (every == 0)
    if command:
        subprocess.run(shlex.split(command), check=True)
        resumed = make_trainer()
        resumed.checkpoints.resume(3, 6)
        assert (resumed.state.epoch, resumed.state.step) == (1, 0)
