"""The regularisers inside the two networks of the paper."""

import pytest
import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torchvision.ops import StochasticDepth

from models import PyramidNet, timm_model
from models.dropblock import DropBlock
from models.shakedrop import ShakeDrop

PYRAMIDNET = {
    "stochastic depth": {"drop_path_rate": 0.25},
    "DropBlock": {"drop_block_keep": [1.0, 0.9, 0.9], "drop_block_size": 4},
    "scheduled DropBlock": {"drop_block_keep": [1.0, 0.9, 0.9], "drop_block_schedule": "linear"},
    "ShakeDrop": {"shake_drop": 0.5},
}
RESNET = {
    "stochastic depth": {"drop_path_rate": 0.25},
    "DropBlock": {"drop_block_keep": [1.0, 1.0, 0.975, 0.9], "drop_block_size": 7},
}
EVERY_RESNET = pytest.mark.parametrize("options", RESNET.values(), ids=RESNET.keys())
OFF = {"drop_path_rate": 0.0, "drop_block_keep": None, "shake_drop": 0.0}


def pyramidnet(depth=20, bottleneck=True, **options):
    torch.manual_seed(0)
    return PyramidNet(depth, alpha=14, num_classes=5, bottleneck=bottleneck, **options)


def resnet(name="resnet26", **options):
    torch.manual_seed(0)
    return timm_model(name, 5, zero_init_last=False, **options)


EVERY_NETWORK = pytest.mark.parametrize(
    ("build", "options"),
    [
        pytest.param(build, options, id=f"{build.__name__} {name}")
        for build, table in ((pyramidnet, PYRAMIDNET), (resnet, RESNET))
        for name, options in table.items()
    ],
)


def blocks_of(network):
    stages = [getattr(network, f"layer{i}", ()) for i in range(1, 5)]
    return [block for stage in stages for block in stage]


def assert_same_weights(one, other):
    theirs = other.state_dict()
    assert list(one.state_dict()) == list(theirs)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


# --- weights --------------------------------------------------------------------------------------------------------


@EVERY_NETWORK
def test_the_weights_are_those_without(build, options):
    others = [{"name": "resnet18"}, {"name": "resnet26d"}] if build is resnet else []
    for other in ({}, *others):
        assert_same_weights(build(**other, **options), build(**other))


@pytest.mark.parametrize(("build", "images", "stages"), [(pyramidnet, (4, 3, 32, 32), 3), (resnet, (2, 3, 64, 64), 4)])
def test_switched_off_is_the_very_same_network(build, images, stages):
    off = OFF if stages == 3 else {"drop_path_rate": 0.0, "drop_block_keep": None}
    for values in (off, off | {"drop_block_keep": [1.0] * stages}):
        plain, same = build(), build(**values)
        assert_same_weights(same, plain)
        assert [type(module) for module in same.modules()] == [type(module) for module in plain.modules()]
        x = torch.randn(images)
        for training in (True, False):
            before = torch.get_rng_state()
            outputs = [network.train(training)(x) for network in (same, plain)]
            assert torch.equal(*outputs)
            assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("options", [PYRAMIDNET["stochastic depth"], PYRAMIDNET["DropBlock"]])
def test_pyramidnet_is_itself_in_evaluation(options):
    x = torch.randn(4, 3, 32, 32)
    assert torch.equal(pyramidnet(**options).eval()(x), pyramidnet().eval()(x))


@EVERY_RESNET
@pytest.mark.parametrize("name", ["resnet26", "resnet18"])
def test_resnet_is_itself_in_evaluation(name, options):
    x = torch.randn(2, 3, 64, 64)
    regularised, plain = resnet(name, **options), resnet(name)
    assert torch.equal(regularised.eval()(x), plain.eval()(x))
    assert not torch.equal(regularised.train()(x), plain.train()(x))


def test_pyramidnets_rates_are_linear_with_depth():
    with torch.device("meta"):
        of_depth, of_shake = (
            [block.regulariser for block in blocks_of(PyramidNet(200, 240, 100, **options))]
            for options in ({"drop_path_rate": 0.25}, {"shake_drop": 0.5})
        )
    assert all(type(layer) is StochasticDepth and layer.mode == "row" for layer in of_depth)
    assert [layer.p for layer in of_depth] == pytest.approx([0.25 * i / 66 for i in range(1, 67)])
    assert all(type(layer) is ShakeDrop for layer in of_shake)
    assert [layer.drop_prob for layer in of_shake] == pytest.approx([0.5 * i / 66 for i in range(1, 67)])


def test_resnet50s_drop_path_rates_are_timms_linear_ones():
    with torch.device("meta"):
        network = timm_model("resnet50", 1000, zero_init_last=False, drop_path_rate=0.25)
    layers = [block.drop_path for block in blocks_of(network)]
    assert layers[0] is None
    assert all(type(layer) is DropPath and layer.scale_by_keep for layer in layers[1:])
    rates = [layer.drop_prob for layer in layers[1:]]
    assert rates == pytest.approx([0.25 * i / 15 for i in range(1, 16)])
    assert rates[-1] == 0.25


# --- places of DropBlock --------------------------------------------------------------------------------------------


def test_pyramidnets_dropblocks_are_those_of_their_stages():
    keep = [1.0, 0.95, 0.9]
    with torch.device("meta"):
        network = PyramidNet(200, 240, 100, drop_block_keep=keep, drop_block_size=4, drop_block_schedule="linear")
    for keep_prob, stage in zip(keep, (network.layer1, network.layer2, network.layer3), strict=True):
        for block in stage:
            if keep_prob == 1:
                assert type(block.regulariser) is nn.Identity
            else:
                layer = block.regulariser
                assert (layer.keep_prob, layer.block_size, layer.schedule) == (keep_prob, 4, "linear")


@pytest.mark.parametrize(("name", "places"), [("resnet26", 4), ("resnet18", 3)])
def test_resnets_dropblocks_follow_each_convolution_and_the_skip(name, places):
    network = resnet(name, drop_block_keep=[1.0, 1.0, 0.975, 0.9], drop_block_size=7, drop_block_schedule="linear")
    counts = [sum(isinstance(m, DropBlock) for m in stage.modules()) for stage in
              (network.layer1, network.layer2, network.layer3, network.layer4)]  # fmt: skip
    assert counts == [0, 0, 2 * places, 2 * places]
    settings = {(m.keep_prob, m.block_size, m.schedule) for m in network.layer3.modules() if isinstance(m, DropBlock)}
    assert settings == {(0.975, 7, "linear")}

    for block in network.layer4:
        events = []
        for module in block.modules():
            kind = {nn.Conv2d: "conv", DropBlock: "drop"}.get(type(module))
            if kind:
                module.register_forward_hook(lambda *_, kind=kind, events=events: events.append(kind))
        block(torch.randn(2, block.conv1.in_channels, 8, 8))
        projected = isinstance(block.downsample[0], nn.Conv2d)
        assert events == ["conv", "drop"] * (places - 1) + (["conv", "drop"] if projected else ["drop"])


def test_a_bottleneck_block_with_dropblock_equals_the_block_written_out():
    network = resnet(drop_block_keep=[1.0, 1.0, 0.9, 0.5], drop_block_size=3).train()
    for block in network.layer4:
        x = torch.randn(4, block.conv1.in_channels, 8, 8)
        torch.manual_seed(5)
        out = block(x.clone())

        torch.manual_seed(5)
        drop, norm = DropBlock(0.5, 3).train(), lambda bn, y: F.batch_norm(y, None, None, bn.weight, bn.bias, True)
        y = drop(norm(block.bn1, block.conv1(x)).relu())
        y = drop(norm(block.bn2, block.conv2(y)).relu())
        y = drop(norm(block.bn3, block.conv3(y)))
        skip = x if len(block.downsample) == 1 else norm(block.downsample[1], block.downsample[0](x))
        torch.testing.assert_close(out, (y + drop(skip)).relu(), rtol=1e-4, atol=1e-5)


# --- training -------------------------------------------------------------------------------------------------------


def two_steps(network, images, labels, precision="fp32"):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    losses = []
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = network(images)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@EVERY_NETWORK
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_trains_and_the_draws_follow_the_seed(build, options, precision):
    images, labels = torch.randn(2, 3, 64, 64), torch.tensor([0, 1])
    results = []
    for seed in (0, 0, 1):
        network = build(**options)
        torch.manual_seed(seed)
        results.append(two_steps(network, images, labels, precision))
        assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
    assert results[0] == results[1] != results[2]


@EVERY_NETWORK
def test_the_host_never_waits(build, options):
    with FakeTensorMode():  # which has no values to give to the host
        network = build(**options).train()
        loss = F.cross_entropy(network(torch.randn(2, 3, 64, 64)), torch.zeros(2, dtype=torch.long))
        loss.backward()
        with pytest.raises(DataDependentOutputException):
            loss.item()
