"""Eager, compiled and exported strategies give the same bits, at several batch sizes and image sizes."""

from functools import partial

import pytest
import torch
import torch._inductor.config
from torch import nn

from smoothmix import CutMix, Cutout, ManifoldMixup, Mixup, SmoothMixC
from tests.mixing.strategies import ALL, seeded

STRATEGIES = {method.__name__: partial(method, **{"size": 4} if method is Cutout else {}) for method in ALL}
# A compilation takes seconds: these few always, all others in the slow suite.
QUICK = {("SmoothMixC", False), ("Cutout", True)}
CASES = [
    pytest.param(name, per_sample, marks=() if (name, per_sample) in QUICK else pytest.mark.slow)
    for name in STRATEGIES
    for per_sample in (False, True)
]


class Module(nn.Module):
    def __init__(self, strategy):
        super().__init__()
        self.strategy = strategy

    def forward(self, images, labels):
        return self.strategy(images, labels)


def batch(n, side=12):
    return torch.randn(n, 3, side, side, generator=seeded(n)), torch.arange(n) % 4


def assert_same(one, other, batches):
    for inputs in batches:
        for seed in range(4):
            torch.manual_seed(seed)
            expected = one(*inputs)
            torch.manual_seed(seed)
            for ours, theirs in zip(other(*inputs), expected, strict=True):
                assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("name", "per_sample"), CASES)
def test_compiled(name, per_sample):
    torch.compiler.reset()
    strategy = STRATEGIES[name](num_classes=4, p=0.5, per_sample=per_sample)
    compiled = torch.compile(strategy, backend="aot_eager", fullgraph=True)
    assert_same(strategy, compiled, [batch(5), batch(3), batch(4, side=16)])


@pytest.mark.parametrize(("name", "per_sample"), CASES)
def test_exported(name, per_sample):
    strategy = STRATEGIES[name](num_classes=4, p=0.5, per_sample=per_sample)
    sizes = {0: torch.export.Dim("n", min=2)}
    exported = torch.export.export(Module(strategy), batch(5), dynamic_shapes=(sizes, sizes)).module()
    assert_same(strategy, exported, [batch(5), batch(3)])


@pytest.mark.slow
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("method", [Mixup, CutMix])
def test_compiled_around_a_gamma_draw(method, per_sample):
    """torch cannot trace that draw for an unknown number of samples: the compiler leaves it as it is."""
    torch.compiler.reset()
    strategy = method(num_classes=4, p=0.5, per_sample=per_sample, alpha=0.2)
    assert_same(strategy, torch.compile(strategy, backend="aot_eager"), [batch(5), batch(3)])


@pytest.mark.slow
@torch._inductor.config.patch(fallback_random=True)
def test_the_default_backend():
    torch.compiler.reset()
    strategy = SmoothMixC(num_classes=4, p=0.5)
    compiled = torch.compile(strategy)
    for n in (5, 3, 6):
        torch.manual_seed(n)
        expected = strategy(*batch(n))
        torch.manual_seed(n)
        for ours, theirs in zip(compiled(*batch(n)), expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)  # its exp may round otherwise


@pytest.mark.slow
def test_a_generator_of_its_own_is_left_as_it_is():
    """The compiler cannot trace draws from it either."""
    torch.compiler.reset()
    strategy = SmoothMixC(num_classes=4, generator=torch.Generator())
    state = strategy.generator.get_state()
    expected = [strategy(*batch(n)) for n in (5, 3)]
    strategy.generator.set_state(state)
    compiled = torch.compile(strategy, backend="aot_eager")
    for n, theirs in zip((5, 3), expected, strict=True):
        for ours, other in zip(compiled(*batch(n)), theirs, strict=True):
            assert torch.equal(ours, other)


@pytest.mark.slow
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("layer", [0, 1])
def test_manifold_mixup_in_a_compiled_network(layer, per_sample):
    """The hook is compiled with the network."""

    def outcome(wrap):
        torch.compiler.reset()
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 4))
        strategy = ManifoldMixup(num_classes=4, per_sample=per_sample, stages=["0"])
        strategy.attach(network)
        strategy.draw_layer = lambda: layer
        forward, outputs = wrap(network), []
        for n in (5, 3):
            images, targets = strategy(*batch(n))
            loss = nn.functional.cross_entropy(forward(images), targets)
            loss.backward()
            outputs += [loss.detach(), network[0].weight.grad.clone()]
        return outputs

    compiled = outcome(lambda network: torch.compile(network, backend="aot_eager"))
    for ours, theirs in zip(compiled, outcome(lambda network: network), strict=True):
        torch.testing.assert_close(ours, theirs)
