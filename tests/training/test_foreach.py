"""Casts and counters in one operation each: the bits of a run are those of autocast's own casts, one by one."""

from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint

from models import PyramidNet
from smoothmix import ManifoldMixup
from smoothmix.training.recipe import Settings
from smoothmix.training.step import Foreach
from tests.training.runs import assert_same_run

DTYPES = [torch.float64, torch.bfloat16]
ONE_BY_ONE = SimpleNamespace(forward=lambda dtype: nullcontext())
pyramidnet = partial(PyramidNet, 8, 6, 4, bottleneck=False)


class Standardised(nn.Linear):
    def forward(self, x):
        return F.linear(x, self.weight / self.weight.std())


def doubled(layer):
    layer.forward = lambda x: F.linear(x, layer.weight * 2)
    return layer


class Odd(nn.Module):
    """Layers used twice, in every other batch, never; frozen, pruned, changed; weights shared, and read in float32."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)
        self.rare, self.unused = nn.BatchNorm2d(3), nn.Linear(3, 3)
        self.frozen = nn.Conv2d(3, 3, 1).requires_grad_(False)
        self.average = nn.BatchNorm2d(3, momentum=None)
        self.fc, self.tied = nn.Linear(3, 3, bias=False), nn.Linear(3, 3)
        self.tied.weight = self.fc.weight
        self.pruned = prune.random_unstructured(nn.Linear(3, 3), "weight", 0.3)
        self.doubled = doubled(nn.Linear(3, 3))
        self.head = Standardised(3, 4, bias=False)
        self.calls = 0

    def forward(self, images):
        x = self.norm(self.norm(self.conv(self.conv(images))))
        x = self.average(self.frozen(x))
        self.calls += 1
        x = self.rare(x) if self.calls % 2 else x
        x = self.tied(self.fc(x.mean((2, 3)))) / self.fc.weight.norm()
        return self.head(self.doubled(self.pruned(x)))


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.network, self.reentrant = pyramidnet(), reentrant

    def forward(self, images):
        features = checkpoint(self.network.layer2, self.network.layer1(self.network.stem(images)),
                              use_reentrant=self.reentrant)  # fmt: skip
        return self.network.fc(self.network.layer3(features).mean((2, 3)))


NETWORKS = {
    "plain": pyramidnet,
    "stochastic depth": partial(pyramidnet, drop_path_rate=0.5),
    "DropBlock": partial(pyramidnet, drop_block_keep=[1.0, 0.8, 0.8], drop_block_size=2),
    "ShakeDrop": partial(pyramidnet, shake_drop=0.5),
    "odd": Odd,
    "checkpointed": partial(Checkpointed, False),
    "checkpointed, reentrant": partial(Checkpointed, True),
}


@pytest.fixture
def pair(make_trainer):
    """Return a function that trains a network twice, the second time one operation after the other."""

    def train(network, precision, strategy=None, **options):
        runs = []
        for name in ("together", "one by one"):
            torch.manual_seed(0)
            model, generator = network(), torch.Generator()
            mixing = strategy(num_classes=4, generator=generator) if strategy else None
            settings = Settings(precision=precision, **options)
            trainer = make_trainer(name, model=model, mixing=mixing, generator=generator, settings=settings, epochs=2)
            trainer.state.scaler = GradScaler("cpu", init_scale=512.0, enabled=precision == "fp16")  # skips no step
            if name == "one by one":
                trainer.foreach = ONE_BY_ONE
            trainer.fit()
            runs.append(trainer)
        return runs

    return train


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # while it is evaluated
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_run_keeps_its_bits(pair, network, precision):
    assert_same_run(*pair(NETWORKS[network], precision))


def test_float32_keeps_its_bits(pair):
    assert_same_run(*pair(Odd, "fp32"))


def test_channels_last_keeps_its_bits(pair):
    assert_same_run(*pair(pyramidnet, "bf16", channels_last=True))


def test_manifold_mixup_keeps_its_bits(pair):
    assert_same_run(*pair(pyramidnet, "bf16", ManifoldMixup))


def test_the_network_is_itself_again_whatever_happens():
    model = Odd()
    before = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with pytest.raises(RuntimeError, match="should be the same"), Foreach(model).forward(torch.bfloat16):
        model(torch.zeros(2, 3, 8, 8))  # float32 images without autocast
    with Foreach(model).forward(torch.bfloat16), torch.autocast("cpu", torch.bfloat16):
        model(torch.zeros(2, 3, 8, 8))
    model(torch.zeros(2, 3, 8, 8))
    after = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)


def test_weights_of_another_type_are_left_alone():
    model = nn.ModuleList([nn.Linear(3, 3).double(), nn.Linear(3, 3)])
    with Foreach(model).forward(torch.bfloat16):
        dtypes = [layer(torch.ones(1, 3, dtype=dtype)).dtype for layer, dtype in zip(model, DTYPES, strict=True)]
    assert dtypes == DTYPES
    with Foreach(nn.ReLU()).forward(torch.bfloat16):
        pass
