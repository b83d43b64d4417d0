"""Checkpoints in the CutMix authors' names: weights made by hand in their structure, read into our networks."""

import collections
import math
import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from models import PyramidNet, timm_model
from models.published import load_published
from smoothmix.training import checkpoint
from tests.mistakes import refused

Weights = dict[str, Tensor]


def their_shapes(depth: int, alpha: float, num_classes: int, bottleneck: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of their PyramidNet for CIFAR, in its order, without "module."."""
    shapes: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, out: int, into: int, side: int) -> None:
        shapes[f"{name}.weight"] = (out, into, side, side)

    def norm(name: str, channels: int) -> None:
        for kind in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{kind}"] = (channels,)
        shapes[f"{name}.num_batches_tracked"] = ()

    convolution("conv1", 16, 3, 3)
    norm("bn1", 16)
    per_stage = (depth - 2) // (9 if bottleneck else 6)
    width, channels = 16.0, 16
    for stage in (1, 2, 3):
        for block in range(per_stage):
            name = f"layer{stage}.{block}"
            width += alpha / (3 * per_stage)
            planes = round(width)
            if bottleneck:
                layers = [(planes, channels, 1), (planes, planes, 3), (4 * planes, planes, 1)]
            else:
                layers = [(planes, channels, 3), (planes, planes, 3)]
            for i, (out, into, side) in enumerate(layers, 1):
                norm(f"{name}.bn{i}", into)
                convolution(f"{name}.conv{i}", out, into, side)
            channels = layers[-1][0]
            norm(f"{name}.bn{len(layers) + 1}", channels)
    norm("bn_final", channels)
    shapes["fc.weight"], shapes["fc.bias"] = (num_classes, channels), (num_classes,)
    return shapes


def random_weights(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> Weights:
    """Numbers of sizes that keep activations near 1, all different."""
    generator = torch.Generator().manual_seed(seed)
    weights = collections.OrderedDict()
    for name, shape in shapes.items():
        numbers = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            weights[name] = 0.5 + numbers.abs()
        elif len(shape) == 4:
            weights[name] = numbers / math.sqrt(math.prod(shape[1:]))
        else:
            weights[name] = 0.5 * numbers + (1 if name.endswith("weight") and len(shape) == 1 else 0)
    return weights


def their_forward(weights: Weights, images: Tensor) -> Tensor:
    """Their network in evaluation, written from its description and their names alone."""

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var, gain, bias = (
            weights[f"{name}.{kind}"].view(1, -1, 1, 1) for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * gain + bias

    x = norm("bn1", F.conv2d(images, weights["conv1.weight"], padding=1))
    blocks = dict.fromkeys(".".join(name.split(".")[:2]) for name in weights if name.startswith("layer"))
    for name in blocks:
        last = 3 if f"{name}.conv3.weight" in weights else 2
        halving = 2 if name in ("layer2.0", "layer3.0") else 1
        out = x
        for i in range(1, last + 1):
            out = norm(f"{name}.bn{i}", out)
            if i > 1:
                out = out.clamp(min=0)
            kernel = weights[f"{name}.conv{i}.weight"]
            # the 3x3 convolution of a bottleneck halves the sides, the first of a basic block
            stride = halving if i == last - 1 else 1
            out = F.conv2d(out, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        out = norm(f"{name}.bn{last + 1}", out)
        if halving == 2:
            x = (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4
        out[:, : x.shape[1]] += x
        x = out
    x = norm("bn_final", x).clamp(min=0).mean((2, 3))
    return x @ weights["fc.weight"].T + weights["fc.bias"]


def save(path, weights: Weights, legacy: bool = False, **extra) -> None:
    content = {
        "epoch": 299,
        "arch": "pyramidnet",
        "state_dict": collections.OrderedDict((f"module.{name}", tensor) for name, tensor in weights.items()),
        "best_err1": 14.23,
        "best_err5": 2.75,
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    } | extra
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)


@pytest.mark.parametrize(("depth", "bottleneck"), [(11, True), (20, True), (8, False), (20, False)])
def test_pyramidnet_gives_the_same_logits(tmp_path, depth, bottleneck):
    weights = random_weights(their_shapes(depth, 24, 10, bottleneck))
    save(tmp_path / "best.pth.tar", weights)
    ours = PyramidNet(depth, 24, 10, bottleneck)
    checkpoint.load_model(ours, load_published(tmp_path / "best.pth.tar"), tmp_path)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = ours.eval()(images)
    expected = their_forward({name: tensor.double() for name, tensor in weights.items()}, images.double())
    assert expected.std() > 0.1
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_pyramidnet_200(tmp_path):
    shapes = their_shapes(200, 240, 100, True)
    learnt = [math.prod(shape) for name, shape in shapes.items() if name.endswith(("weight", "bias"))]
    assert sum(learnt) == 26_844_952  # as the paper says: 26.8M
    weights = {name: torch.full(shape, float(i)) for i, (name, shape) in enumerate(shapes.items())}
    save(tmp_path / "model_best.pth.tar", weights)
    loaded = load_published(tmp_path / "model_best.pth.tar")
    with torch.device("meta"):
        ours = PyramidNet(200, 240, 100).state_dict()
    assert {name: tensor.shape for name, tensor in ours.items()} == {name: t.shape for name, t in loaded.items()}
    # their order is that of the network, and so is ours: the i-th is the i-th
    assert [loaded[name].max().item() for name in ours] == list(range(len(shapes)))


def test_resnet50_gives_the_same_logits(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torchvision.models.resnet50(num_classes=10)
        for module in theirs.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        images = torch.randn(2, 3, 64, 64)
    save(tmp_path / "best.pth.tar", theirs.state_dict(), arch="resnet")
    ours = timm_model("resnet50", num_classes=10, zero_init_last=False)
    checkpoint.load_model(ours, load_published(tmp_path / "best.pth.tar"), tmp_path)
    with torch.no_grad():
        found, expected = ours.eval()(images), theirs.eval()(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("legacy", [False, True])
def test_files_of_old_versions(tmp_path, legacy):
    """No count of batches, the file format before PyTorch 1.6, and a NumPy number among the values."""
    weights = random_weights(their_shapes(8, 12, 10, False))
    old = {name: tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")}
    path = tmp_path / "best.pth.tar"
    save(path, old, legacy, best_err1=np.float64(14.23), best_err5=np.float32(2.75), epoch=np.int64(299))
    if legacy:  # as NumPy 1 named it
        written = path.read_bytes()
        path.write_bytes(written.replace(b"cnumpy._core.multiarray\nscalar", b"cnumpy.core.multiarray\nscalar"))
        assert (path.read_bytes() != written) == (np.__version__ >= "2")
    loaded = load_published(path)
    model = PyramidNet(8, 12, 10, bottleneck=False)
    checkpoint.load_model(model, loaded, path)
    assert model.norm.num_batches_tracked == 0
    assert model.norm.num_batches_tracked.dtype == torch.int64
    assert torch.equal(model.layer2[0].residual[4].weight, weights["layer2.0.conv2.weight"])


def test_weights_without_the_prefix(tmp_path):
    weights = random_weights(their_shapes(8, 12, 10, False))
    torch.save({"state_dict": weights}, tmp_path / "best.pth.tar")
    assert torch.equal(load_published(tmp_path / "best.pth.tar")["stem.0.weight"], weights["conv1.weight"])


class Call:
    def __init__(self, *command: str):
        self.command = command

    def __reduce__(self):
        return os.mkdir, self.command


@pytest.mark.parametrize("legacy", [False, True])
def test_hostile_files_run_nothing(tmp_path, legacy):
    path, canary = tmp_path / "best.pth.tar", tmp_path / "canary"
    weights = random_weights(their_shapes(8, 12, 10, False))
    save(path, weights, legacy, best_err1=Call(str(canary)))
    with refused(path, "tensors"):
        load_published(path)
    assert not canary.exists()
    torch.load(path, weights_only=False)  # the canary can sing
    assert canary.exists()
    save(path, weights, legacy, best_err1=np.zeros(3))  # an array is no number
    with refused(path, "tensors"):
        load_published(path)
    save(path, weights, legacy, best_err1=np.float64(3))
    load_published(path)
    with refused(path, "tensors"):
        checkpoint.load(path)  # our own checkpoints still admit no number of NumPy
