"""The step that several ranks capture: gradients in one buffer, and what keeps the ranks together."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from smoothmix import ManifoldMixup
from smoothmix.training import trainer
from smoothmix.training.cuda_graph import Graphed
from smoothmix.training.recipe import Execution, Settings
from smoothmix.training.step import FlatGradients, Pace
from smoothmix.utils.distributed import Ranks, is_loss
from smoothmix.utils.errors import UserError

CPU = Ranks(torch.device("cpu"))


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


def test_a_strategy_with_several_graphs_is_refused(make_trainer, monkeypatch):
    monkeypatch.setattr(Settings, "on", lambda self, ranks: Execution("fp32", False, "graph"))
    with pytest.raises(UserError, match="ManifoldMixup draws one of its own per rank and batch; use step=eager"):
        make_trainer(mixing=ManifoldMixup(num_classes=4), ranks=Ranks(torch.device("cpu"), 0, 2))


@pytest.mark.parametrize(("rank", "printed"), [(0, 1), (1, 0)])
def test_one_rank_that_cannot_capture_keeps_all_from_it(monkeypatch, capsys, rank, printed):
    monkeypatch.setattr(Ranks, "gather", lambda self, value: [value, "draws numbers on the host"])
    graphs = SimpleNamespace(warm_up=lambda step: step() or "", capture=None)
    launch = Graphed(2, torch.Generator(), None, graphs, Ranks(torch.device("cpu"), rank, 2))
    seen = []
    for _ in range(5):
        launch(seen.append, None, torch.zeros(2))
    assert len(seen) == 5
    assert capsys.readouterr().out.count("note: the train step draws numbers on the host; it runs eagerly") == printed


def test_a_step_that_waits_for_a_lost_rank_ends():
    events = [SimpleNamespace(record=lambda: None, query=lambda done=done: done) for done in (True, False, True)]
    pace = Pace(torch.device("cuda"), 0.01, iter(events).__next__)
    for _ in events:
        pace()
    with pytest.raises(Exception, match=r"a train step was not done within 0\.01 seconds") as raised:
        pace.finish()
    assert is_loss(raised.value)
    pace.finish()
    assert not pace.events


def test_the_graph_is_of_a_rank_s_batch_and_its_steps_have_the_time_limit(make_trainer, monkeypatch):
    monkeypatch.setattr(Settings, "on", lambda self, ranks: Execution("fp32", False, "graph"))
    monkeypatch.setattr(trainer, "CudaGraphs", lambda: None)
    for world_size, limit in ((4, 7), (1, None)):
        made = make_trainer(ranks=Ranks(torch.device("cpu"), 0, world_size, 7))
        assert made.launch.batch == 8 // world_size
        assert made.pace.limit == limit
