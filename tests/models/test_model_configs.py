import inspect
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

import models
from smoothmix.utils.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs" / "model"

PARAMETERS = {  # at 100 classes
    "pyramidnet200": 26_844_952,
    "pyramidnet110": 28_511_307,
    "pyramidnet272": 26_288_692,
    "pyramidnet20": 316_695,
    "pyramidnet8": 55_860,
    "resnet50": 25_557_032 - 900 * (2048 + 1),
}
SMALL_MMACS = {"pyramidnet20": 72.2, "pyramidnet8": 15.1}


def build(config, num_classes: int = 100):
    """Build the network as the entry points do: the target gets `name` only if it asks for it."""
    arguments = OmegaConf.to_container(config)
    package, _, target = arguments.pop("_target_").rpartition(".")
    assert package == "models"
    factory = getattr(models, target)
    if "name" not in inspect.signature(factory).parameters:
        arguments.pop("name")
    with torch.device("meta"):
        return factory(num_classes=num_classes, **arguments)


@pytest.mark.parametrize("name", PARAMETERS)
def test_config_builds_the_network_of_its_name(name):
    config = OmegaConf.load(CONFIGS / f"{name}.yaml")
    assert config.name == name
    assert sum(p.numel() for p in build(config).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", SMALL_MMACS)
def test_small_configs_say_their_size(name):
    text = (CONFIGS / f"{name}.yaml").read_text()
    model = build(OmegaConf.load(CONFIGS / f"{name}.yaml"))
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 32, 32, device="meta"))
    assert counter.get_total_flops() / 2 / 1e6 == pytest.approx(SMALL_MMACS[name], abs=0.05)
    assert f"{PARAMETERS[name]:,} parameters at 100 classes" in text
    assert f"{SMALL_MMACS[name]} MMACs" in text


def test_pyramidnet20_stays_small():
    assert PARAMETERS["pyramidnet20"] <= 360_000


def test_resnet50_does_not_zero_the_last_gammas():
    assert OmegaConf.load(CONFIGS / "resnet50.yaml").zero_init_last is False


def test_timm_config_takes_any_name():
    config = OmegaConf.load(CONFIGS / "timm.yaml")
    assert OmegaConf.is_missing(config, "name")
    config.name = "resnet18"
    assert build(config).fc.out_features == 100
    config.name = "resnet81"
    with pytest.raises(UserError, match="resnet18"):
        build(config)
