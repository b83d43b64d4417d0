"""What only a GPU can show of training."""

import itertools
import re
from functools import partial

import pytest
import torch
from torchvision.transforms import v2

from models import PyramidNet
from smoothmix import CutMix, Cutout, HideAndSeek, Identity, ManifoldMixup, Mixup, SmoothMixC, SmoothMixS
from smoothmix.training.recipe import Recipe, Settings
from smoothmix.training.trainer import Trainer, numerics
from smoothmix.utils.command import Stopped, StopSignal
from smoothmix.utils.distributed import init_distributed
from smoothmix.utils.numerics import full_precision

pytestmark = pytest.mark.gpu


@pytest.fixture
def make_trainer(tmp_path, tiny_data):
    def make(name, mixing=SmoothMixC, epochs=3, **settings):
        ranks = init_distributed("cuda")
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        generator = torch.Generator(ranks.device)
        torch.manual_seed(0)
        model = PyramidNet(8, 24, 4, bottleneck=False)
        strategy = mixing(num_classes=4, generator=generator)
        recipe = Recipe(name="test", epochs=epochs, batch_size=8, lr=0.05)
        return Trainer(model, strategy, tiny_data(), recipe, Settings(**settings), directory, ranks, generator, {})

    return make


@pytest.mark.parametrize("step", ["eager", "graph"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_does_not_wait_for_the_device(make_trainer, precision, step):
    trainer = make_trainer("run", precision=precision, step=step)
    trainer.network = trainer.model
    with StopSignal(trainer.ranks) as stop:
        trainer.train_epoch(stop)  # the first one may wait: kernels are chosen, memory is taken, the step is captured
        trainer.state.step = 0
        batches = list(trainer.batches.inputs(1))
        trainer.batches.inputs = lambda epoch, step: iter(batches)
        torch.cuda.set_sync_debug_mode("error")
        try:
            trainer.train_epoch(stop)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert trainer.state.step == len(batches)


def losses(trainer, steps, restart=None):
    """Return the loss of each of so many steps of full batches; the streams begin again before step `restart`."""
    trainer.network = trainer.model.train()
    trainer.state.seed_streams(0)
    seen = []
    for step, inputs in enumerate(itertools.islice(itertools.cycle(list(trainer.batches.inputs(0))[:5]), steps)):
        if step == restart:
            trainer.state.seed_streams(0)
        trainer.state.totals.zero_()
        trainer.launch(trainer.train_step, None, *inputs)
        seen.append(trainer.state.totals[0].item() / trainer.state.totals[1].item())
    return seen


@pytest.mark.parametrize("method", [SmoothMixC, SmoothMixS, CutMix, Mixup, Cutout, HideAndSeek, Identity])
def test_losses_of_the_graph_are_the_eager_ones(make_trainer, method):
    """20 steps in fp32 with the same draws, 17 of them replayed, the learning rate changed on the way."""
    with numerics(deterministic=True), full_precision():
        eager, graph = (make_trainer(step, method, precision="fp32", step=step) for step in ("eager", "graph"))
        expected = losses(eager, 20)
        assert losses(graph, 20) == pytest.approx(expected, rel=1e-5)
        assert graph.launch.replays
        for trainer in (eager, graph):
            trainer.state.optimizer.param_groups[0]["lr"].fill_(0.005)
        assert losses(graph, 10, restart=5) == pytest.approx(losses(eager, 10, restart=5), rel=1e-5)


def test_each_replay_draws_other_numbers(make_trainer):
    """With a learning rate of 0 and one batch over and over, only the draws change the loss."""
    trainer = make_trainer("run", step="graph", precision="fp32")
    trainer.network = trainer.model.train()
    trainer.state.optimizer.param_groups[0]["lr"].zero_()
    inputs, seen = next(trainer.batches.inputs(0)), set()
    for _ in range(14):
        trainer.state.totals.zero_()
        trainer.launch(trainer.train_step, None, *inputs)
        seen.add(trainer.state.totals[0].item())
    assert trainer.launch.replays
    assert len(seen) > 5  # half of the batches are not mixed


def test_manifold_mixup_has_a_graph_for_each_layer(make_trainer):
    runs = []
    for step in ("eager", "graph"):
        trainer = make_trainer(step, partial(ManifoldMixup, stages=["layer1"]), step=step, deterministic=True, epochs=8)
        trainer.mixing.attach(trainer.model)
        runs.append([row["train_loss"] for row in trainer.fit()])
    assert trainer.launch.replays.keys() == {0, 1}
    assert runs[1] == pytest.approx(runs[0], rel=1e-4)


def test_a_method_that_draws_on_the_host_stays_eager(make_trainer, capsys):
    trainer = make_trainer("run", lambda num_classes, generator: v2.CutMix(num_classes=num_classes), step="graph")
    trainer.fit()
    assert not trainer.launch.replays
    assert "draws numbers on the host" in capsys.readouterr().out


def test_a_step_that_reads_from_the_gpu_stays_eager_and_says_where(make_trainer, capsys):
    class Reads(SmoothMixC):
        def draw_mask(self, images):
            mask = super().draw_mask(images)
            return mask if mask.mean() > 0 else mask + 0

    trainer = make_trainer("run", Reads, step="graph")
    trainer.fit()
    assert not trainer.launch.replays
    assert re.search(r"reads from the GPU \(.*test_gpu\.py:\d+\)", capsys.readouterr().out)


class Foreign(SmoothMixC):
    pass


def test_a_strategy_of_others_is_not_captured_unless_asked(make_trainer, capsys):
    make_trainer("run", Foreign)
    assert "test_gpu.Foreign is not known to work in a CUDA graph" in capsys.readouterr().out


@pytest.mark.parametrize("step", ["eager", "graph"])
def test_deterministic_runs_resume_bit_for_bit(make_trainer, monkeypatch, step):
    unbroken = make_trainer("unbroken", deterministic=True, step=step)
    unbroken.fit()
    requests = iter(range(1000))
    monkeypatch.setattr("smoothmix.utils.command.StopSignal.requested", lambda self: next(requests) == 9)
    with pytest.raises(Stopped):
        make_trainer("stopped", deterministic=True, step=step).fit()
    monkeypatch.undo()
    resumed = make_trainer("stopped", deterministic=True, step=step)
    resumed.fit()
    weights = resumed.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in unbroken.model.state_dict().items())


def test_bf16_learns_as_fp32_does(make_trainer):
    losses = [make_trainer(precision, precision=precision).fit()[-1]["train_loss"] for precision in ("fp32", "bf16")]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
