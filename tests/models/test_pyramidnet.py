import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models import PyramidNet
from models.pyramidnet import PyramidBlock, block_planes

BOTH_KINDS = pytest.mark.parametrize(("depth", "bottleneck"), [(14, False), (20, True)])


def on_meta(*args, **kwargs) -> PyramidNet:
    with torch.device("meta"):
        return PyramidNet(*args, **kwargs)


def small(depth: int, bottleneck: bool, seed: int = 0, **kwargs) -> PyramidNet:
    torch.manual_seed(seed)
    return PyramidNet(depth, alpha=14, num_classes=5, bottleneck=bottleneck, **kwargs)


def with_random_norms(module: nn.Module) -> nn.Module:
    """Give every BatchNorm scales, shifts and running statistics that leave no term of its formula out."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return module


# --- sizes ----------------------------------------------------------------------------------------------------------


def test_pyramidnet200_has_the_published_layers():
    model = on_meta(200, 240, 100)
    blocks = [*model.layer1, *model.layer2, *model.layer3]
    assert len(model.layer1) == len(model.layer2) == len(model.layer3) == 22
    assert [b.out_channels // 4 for b in blocks[:5]] == [20, 23, 27, 31, 34]
    assert blocks[21].out_channels == 384
    assert blocks[65].out_channels == model.fc.in_features == 1024
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == 199
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == 266
    assert all(m.bias is None for m in model.modules() if isinstance(m, nn.Conv2d))


def test_depth_counts_the_convolutions_and_the_linear_layer():
    for depth, bottleneck in [(11, True), (20, True), (8, False), (14, False), (20, False)]:
        model = on_meta(depth, 30, 10, bottleneck)
        assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) == depth


def test_planes_grow_by_the_same_step_rounded_half_to_even():
    planes = block_planes(66, 240)
    assert planes[:5] == [20, 23, 27, 31, 34]
    assert (planes[21], planes[65], len(planes)) == (96, 256, 66)
    assert block_planes(54, 270) == list(range(21, 287, 5))
    assert block_planes(4, 2) == [16, 17, 18, 18]  # 16.5, 17.0, 17.5, 18.0
    assert block_planes(60, 6)[4] == 17  # the running float is 16.500000000000004, not 16.5


# --- values ---------------------------------------------------------------------------------------------------------


def slow_block(block: PyramidBlock, x: torch.Tensor, stride: int) -> torch.Tensor:
    """The block written out once more: the operations by their formulas, the zero channels by concatenation."""

    def norm(x, bn):
        mean, var = (x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)) if bn.training else (None, None)
        mean, var = (bn.running_mean, bn.running_var) if mean is None else (mean, var)
        mean, var, weight, bias = (v.view(1, -1, 1, 1) for v in (mean, var, bn.weight, bn.bias))
        return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias

    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    weights = [m.weight for m in block.modules() if isinstance(m, nn.Conv2d)]
    strides, paddings = ([1, stride, 1], [0, 1, 0]) if len(weights) == 3 else ([stride, 1], [1, 1])
    out = norm(x, norms[0])  # and no ReLU
    for i, weight in enumerate(weights):
        out = norm(F.conv2d(out, weight, stride=strides[i], padding=paddings[i]), norms[i + 1])
        if i + 1 < len(weights):
            out = out.clamp(min=0)

    if stride == 2:
        n, c, h, w = x.shape
        x = x.view(n, c, h // 2, 2, w // 2, 2).mean((3, 5))
    zeros = torch.zeros(x.shape[0], out.shape[1] - x.shape[1], *x.shape[2:], dtype=x.dtype)
    return torch.cat([x, zeros], dim=1) + out


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("bottleneck", "in_channels", "planes"), [(False, 6, 9), (False, 7, 7), (True, 6, 5)])
def test_block_equals_the_slow_one(bottleneck, in_channels, planes, stride, training):
    torch.manual_seed(1)
    block = with_random_norms(PyramidBlock(in_channels, planes, stride, bottleneck)).double().train(training)
    x = torch.randn(3, in_channels, 8, 12, dtype=torch.float64)
    expected = slow_block(block, x.clone(), stride)
    before = x.clone()
    out = block(x)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    assert out.shape == (3, planes * 4 if bottleneck else planes, 8 // stride, 12 // stride)
    assert torch.equal(x, before)


@BOTH_KINDS
def test_network_is_stem_three_stages_and_head(depth, bottleneck):
    model = with_random_norms(small(depth, bottleneck)).eval()
    seen = {}
    for name in ("stem", "layer1", "layer2", "layer3"):
        getattr(model, name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.clone()}))
    images = torch.randn(2, 3, 32, 32)
    logits = model(images)

    sides = {name: tuple(x.shape[2:]) for name, x in seen.items()}
    assert sides == {"stem": (32, 32), "layer1": (32, 32), "layer2": (16, 16), "layer3": (8, 8)}
    conv, norm = model.stem
    torch.testing.assert_close(seen["stem"], norm(F.conv2d(images, conv.weight, padding=1)))
    x = seen["stem"]
    for stage in (model.layer1, model.layer2, model.layer3):
        for i, block in enumerate(stage):
            x = slow_block(block, x, stride=2 if stage is not model.layer1 and i == 0 else 1)
    torch.testing.assert_close(seen["layer3"], x, rtol=1e-4, atol=1e-4)
    features = model.norm(x).clamp(min=0).flatten(2).mean(2)
    torch.testing.assert_close(logits, features @ model.fc.weight.T + model.fc.bias, rtol=1e-4, atol=1e-4)


@BOTH_KINDS
def test_convolutions_start_normal_with_the_fan_out_deviation(depth, bottleneck):
    torch.manual_seed(2)
    model = PyramidNet(depth, alpha=60, num_classes=10, bottleneck=bottleneck)
    for conv in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
        weight, k = conv.weight.detach().double(), conv.kernel_size[0]
        std = math.sqrt(2 / (k * k * conv.out_channels))
        error = 5 / math.sqrt(2 * weight.numel())  # five standard errors of a normal sample's deviation
        assert weight.std().item() == pytest.approx(std, rel=error)
        assert abs(weight.mean().item()) < 5 * std / math.sqrt(weight.numel())
    largest = max((m.weight for m in model.modules() if isinstance(m, nn.Conv2d)), key=torch.numel).flatten()
    share = (largest.abs() > 2 * largest.std()).double().mean().item()
    assert share == pytest.approx(0.0455, abs=0.012)  # of a normal distribution; 0 of a uniform one


@BOTH_KINDS
def test_norms_start_as_the_identity_and_the_linear_layer_as_torchs(depth, bottleneck):
    model = small(depth, bottleneck)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
        assert torch.equal(norm.bias, torch.zeros_like(norm.bias))
    bound = 1 / math.sqrt(model.fc.in_features)
    assert 0.8 * bound < model.fc.weight.abs().max() <= bound
    assert 0 < model.fc.bias.abs().max() <= bound


# --- training and evaluation ----------------------------------------------------------------------------------------


@BOTH_KINDS
@pytest.mark.parametrize("training", [True, False])
def test_channels_last_gives_the_same_result(depth, bottleneck, training):
    plain = with_random_norms(small(depth, bottleneck)).train(training)
    last = small(depth, bottleneck).train(training)
    last.load_state_dict(plain.state_dict())
    last = last.to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 32, 32)
    kept = []
    last.layer3.register_forward_hook(
        lambda _, __, out: kept.append(out.is_contiguous(memory_format=torch.channels_last))
    )
    out = last(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(out, plain(images), rtol=1e-3, atol=1e-4)
    assert kept == [True]  # the zero-padded shortcuts keep the layout too


@pytest.mark.parametrize("sides", [(28, 28), (20, 36), (31, 27), (1, 1)])
def test_other_image_sides_work(sides):
    for depth, bottleneck in [(8, False), (11, True)]:
        logits = small(depth, bottleneck)(torch.randn(2, 3, *sides).requires_grad_())
        assert logits.shape == (2, 5)
        assert torch.isfinite(logits).all()


# --- the regulariser's place ----------------------------------------------------------------------------------------


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


@BOTH_KINDS
def test_regulariser_acts_on_the_residual_branch_of_its_own_block(depth, bottleneck):
    plain = small(depth, bottleneck).eval()
    model = small(depth, bottleneck).eval()
    for i, block in enumerate(model.layer1, start=1):
        block.regulariser = Times(i / 6)
    x = torch.randn(2, 16, 32, 32)
    for i, (block, same) in enumerate(zip(model.layer1, plain.layer1, strict=True), start=1):
        channels = x.shape[1]
        out, full = block(x), same(x)
        shortcut = F.pad(x, (0, 0, 0, 0, 0, out.shape[1] - channels))
        torch.testing.assert_close(out - shortcut, (full - shortcut) * i / 6, rtol=1e-3, atol=1e-5)
        x = full


def test_regulariser_with_no_residual_leaves_the_shortcut():
    block = PyramidBlock(6, 9, 2, bottleneck=False, regulariser=Times(0))
    x = torch.randn(2, 6, 8, 8)
    out = block(x)
    assert torch.equal(out[:, :6], F.avg_pool2d(x, 2))
    assert torch.equal(out[:, 6:], torch.zeros(2, 3, 4, 4))
