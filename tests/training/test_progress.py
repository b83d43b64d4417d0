import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from models import PyramidNet
from models.dropblock import DropBlock
from smoothmix import Identity
from smoothmix.training.recipe import Recipe, Settings
from smoothmix.training.trainer import Trainer, set_progress
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.signals import Stopped

ROOT = Path(__file__).parents[2]


class Listener(nn.Module):
    def __init__(self):
        super().__init__()
        self.heard = []

    def set_progress(self, fraction):
        self.heard.append(fraction)

    def forward(self, x):
        return x


@pytest.fixture
def make_trainer(tmp_path, tiny_data):
    def make(name, model, epochs=4):
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        return Trainer(
            model,
            Identity(num_classes=4),
            tiny_data(),
            Recipe(name="test", epochs=epochs, batch_size=16, lr=0.05),
            Settings(),
            directory,
            Ranks(torch.device("cpu")),
            torch.Generator(),
            {},
        )

    return make


def pyramidnet(**options):
    torch.manual_seed(0)
    return PyramidNet(8, alpha=6, num_classes=4, bottleneck=False, **options)


def test_every_listening_layer_is_told_and_the_others_are_left_alone():
    model = nn.Sequential(nn.ReLU(), nn.Sequential(Listener(), nn.Dropout()), Listener())
    set_progress(model, 0.25)
    assert model[1][0].heard == model[2].heard == [0.25]


def test_the_trainer_tells_the_share_of_the_epochs_that_is_done(make_trainer, tiny_model):
    listener = Listener()
    make_trainer("run", nn.Sequential(listener, tiny_model())).fit()
    assert listener.heard == [0, 0.25, 0.5, 0.75]


def test_a_scheduled_dropblock_follows_the_trainer(make_trainer, monkeypatch):
    model = pyramidnet(drop_block_keep=[1.0, 1.0, 0.6], drop_block_size=2, drop_block_schedule="linear")
    (layer,) = [module for module in model.modules() if isinstance(module, DropBlock)]
    trainer, rates = make_trainer("run", model), []
    step = trainer.state.optimizer.step
    monkeypatch.setattr(
        trainer.state.optimizer, "step", lambda *a: (rates.append(layer.drop_rate.item()), step(*a))[1]
    )
    trainer.fit()
    assert rates == pytest.approx([0] * 3 + [0.1] * 3 + [0.2] * 3 + [0.3] * 3)


@pytest.mark.parametrize(
    "options",
    [
        {"drop_path_rate": 0.25},
        {"drop_block_keep": [1.0, 0.8, 0.8], "drop_block_size": 2, "drop_block_schedule": "linear"},
        {"shake_drop": 0.5},
    ],
)
def test_a_run_stopped_at_any_step_and_started_again_is_the_unbroken_run(make_trainer, monkeypatch, options):
    unbroken = make_trainer("unbroken", pyramidnet(**options))
    unbroken.fit()
    plain = make_trainer("plain", pyramidnet())
    plain.fit()
    weights = unbroken.model.state_dict()
    assert any(not torch.equal(tensor, weights[name]) for name, tensor in plain.model.state_dict().items())
    for stop_at in (2, 6, 10):
        requests = iter(range(1, 1000))
        monkeypatch.setattr(
            "smoothmix.utils.signals.StopSignal.requested",
            lambda _, stop_at=stop_at, requests=requests: next(requests) == stop_at,
        )
        with pytest.raises(Stopped):
            make_trainer(f"stopped{stop_at}", pyramidnet(**options)).fit()
        monkeypatch.undo()
        resumed = make_trainer(f"stopped{stop_at}", pyramidnet(**options))
        resumed.fit()
        assert all(torch.equal(tensor, weights[name]) for name, tensor in resumed.model.state_dict().items())


def test_two_ranks_draw_for_themselves_and_keep_the_same_weights(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = Path(__file__).with_name("regularisers_on_ranks.py")
    done = subprocess.run(
        [*launcher, str(script), str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    results = torch.load(tmp_path / "results.pt", weights_only=True)
    assert len(results) == 3
    for name, result in results.items():
        assert torch.equal(*result["weights"]), name
        assert not torch.equal(*result["kept"]), name
