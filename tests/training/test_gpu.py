"""What only a GPU can show. Skipped where there is none."""

import pytest
import torch

from models import PyramidNet
from smoothmix import SmoothMixC
from smoothmix.training.distributed import join
from smoothmix.training.recipe import Recipe, Settings
from smoothmix.training.stopping import Stopped, StopSignal
from smoothmix.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def make_trainer(tmp_path, tiny_data):
    def make(name, **settings):
        ranks = join("cuda")
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        generator = torch.Generator(ranks.device)
        torch.manual_seed(0)
        model = PyramidNet(8, 24, 4, bottleneck=False)
        strategy = SmoothMixC(num_classes=4, generator=generator)
        recipe = Recipe(name="test", epochs=3, batch_size=8, lr=0.05)
        return Trainer(model, strategy, tiny_data(), recipe, Settings(**settings), directory, ranks, generator, {})

    return make


@pytest.mark.parametrize("settings", [{}, {"precision": "bf16", "channels_last": True}])
def test_a_step_does_not_wait_for_the_device(make_trainer, settings):
    trainer = make_trainer("run", **settings)
    trainer.network = trainer.model
    with StopSignal(trainer.ranks) as stop:
        trainer.train_epoch(stop)  # the first one may wait: kernels are chosen and memory is taken
        trainer.step = 0
        batches = list(trainer.batches.epoch(1))
        trainer.batches.epoch = lambda epoch, step: iter(batches)
        torch.cuda.set_sync_debug_mode("error")
        try:
            trainer.train_epoch(stop)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert trainer.step == len(batches)


def test_deterministic_runs_resume_bit_for_bit(make_trainer, monkeypatch):
    unbroken = make_trainer("unbroken", deterministic=True)
    unbroken.fit()
    requests = iter(range(1000))
    monkeypatch.setattr("smoothmix.training.stopping.StopSignal.requested", lambda self: next(requests) == 9)
    with pytest.raises(Stopped):
        make_trainer("stopped", deterministic=True).fit()
    monkeypatch.undo()
    resumed = make_trainer("stopped", deterministic=True)
    resumed.fit()
    weights = resumed.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in unbroken.model.state_dict().items())


def test_bf16_learns_as_fp32_does(make_trainer):
    losses = [
        make_trainer(precision, precision=precision).fit()[-1]["train_loss"] for precision in ("fp32", "bf16")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
