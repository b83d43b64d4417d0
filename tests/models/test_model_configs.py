import inspect
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

import models
from tests.mistakes import refused

CONFIGS = Path(__file__).parents[2] / "configs" / "model"

NETWORKS = [  # name, classes, parameters, millions of multiply-adds for an image of this side
    ("pyramidnet200", 100, 26_844_952, 4520, 32),
    ("pyramidnet200", 10, 26_752_702, 4520, 32),
    ("pyramidnet110", 100, 28_511_307, 4718, 32),
    ("pyramidnet272", 100, 26_288_692, 4489, 32),
    ("pyramidnet20", 100, 316_695, 72.2, 32),
    ("pyramidnet8", 100, 55_860, 15.1, 32),
    ("resnet50", 1000, 25_557_032, 4089, 224),
    ("resnet50", 100, 25_557_032 - 900 * (2048 + 1), 4087, 224),
]


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


@pytest.mark.parametrize(("name", "classes", "parameters", "mmacs", "side"), NETWORKS)
def test_a_config_builds_the_published_network_of_its_name(name, classes, parameters, mmacs, side):
    config = OmegaConf.load(CONFIGS / f"{name}.yaml")
    assert config.name == name
    model = build(config, classes)
    assert sum(p.numel() for p in model.parameters()) == parameters
    with FlopCounterMode(display=False) as counter:  # convolutions and the linear layer; one MAC is two FLOP
        logits = model(torch.empty(1, 3, side, side, device="meta"))
    assert logits.shape == (1, classes)
    assert counter.get_total_flops() / 2 / 1e6 == pytest.approx(mmacs, abs=0.5 if mmacs > 1000 else 0.05)
    if mmacs < 1000:
        text = (CONFIGS / f"{name}.yaml").read_text()
        assert f"{parameters:,} parameters at 100 classes" in text
        assert f"{mmacs} MMACs" in text


def test_resnet50_does_not_zero_the_last_gammas():
    assert OmegaConf.load(CONFIGS / "resnet50.yaml").zero_init_last is False


def test_timm_config_takes_any_name():
    config = OmegaConf.load(CONFIGS / "timm.yaml")
    assert OmegaConf.is_missing(config, "name")
    config.name = "resnet18"
    assert build(config).fc.out_features == 100
    config.name = "resnet81"
    with refused("resnet18"):
        build(config)
