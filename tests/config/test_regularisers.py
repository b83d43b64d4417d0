"""The experiments whose method lives inside the network: what they switch on, and that the real networks train."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from models.dropblock import DropBlock
from models.shakedrop import ShakeDrop
from smoothmix.config import build, schema
from smoothmix.config.command_line import CONFIGS, compose

EXPERIMENTS = {
    "cifar100/stochdepth": {"drop_path_rate": 0.25},
    "cifar100/dropblock": {
        "drop_block_keep": [1.0, 0.9, 0.9],
        "drop_block_size": 4,
        "drop_block_schedule": "constant",
    },
    "cifar100/shakedrop": {"shake_drop": 0.5},
    "cifar100/shakedrop_cutmix": {"shake_drop": 0.5},
    "imagenet/stochdepth": {"drop_path_rate": 0.25},
    "imagenet/dropblock": {
        "drop_block_keep": [1.0, 1.0, 0.975, 0.9],
        "drop_block_size": 7,
        "drop_block_schedule": "linear",
    },
}


def checked(*overrides):
    return schema.check(compose("train", overrides))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_experiment_is_its_baseline_with_one_regulariser(experiment):
    dataset, row = experiment.split("/")
    config, baseline = checked(f"experiment={experiment}"), checked(f"experiment={dataset}/baseline")
    assert config.method == row
    assert config.model.options == baseline.model.options | EXPERIMENTS[experiment]
    assert config.mixing.name == ("cutmix" if row == "shakedrop_cutmix" else "identity")
    assert replace(config, method=baseline.method, model=baseline.model, mixing=baseline.mixing) == baseline


def test_the_header_tells_the_right_number_of_stochastic_depth():
    text = (CONFIGS / "experiment/cifar100/stochdepth.yaml").read_text()
    assert "16.73" in text
    assert "15.86" in text
    assert "3.33" in text


@pytest.mark.parametrize(
    ("values", "module"),
    [
        (["+model.drop_path_rate=0.25"], StochasticDepth),
        (["+model.drop_block_keep=[1.0,0.9,0.9]", "+model.drop_block_size=4"], DropBlock),
        (["+model.shake_drop=0.5"], ShakeDrop),
    ],
)
def test_a_small_network_takes_the_same_settings(values, module):
    config = checked("model=pyramidnet8", *values)
    network, plain = build.model(config, 10, 32), build.model(checked("model=pyramidnet8"), 10, 32)
    assert any(isinstance(layer, module) for layer in network.modules())
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), plain.parameters(), strict=True))
    take_two_steps(network, torch.randn(2, 3, 32, 32), F.one_hot(torch.tensor([0, 1]), 10).float())


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+model.drop_path_rate=a", "model.drop_path_rate='a' should be of type float"),
        ("+model.drop_block_size=4.5", "model.drop_block_size=4.5 should be of type int"),
        ("+model.shake_drop=2", "model=pyramidnet8: shake_drop is 2.0; give a number"),
        ("+model.drop_block_keep=0.9", "model=pyramidnet8: drop_block_keep is 0.9; give"),
    ],
)
def test_mistakes_get_one_sentence(override, words):
    with pytest.raises(schema.UserError) as error:
        build.model(checked("model=pyramidnet8", override), 10, 32)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def take_two_steps(network, images, targets):
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
    network.train()
    for _ in range(2):
        loss = F.cross_entropy(network(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
    changed = [not torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True)]
    assert all(changed)
