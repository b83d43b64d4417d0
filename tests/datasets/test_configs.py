import inspect
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import datasets
from smoothmix.config.command_line import compose

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "dataset"
READ_BY_OTHERS = {"name", "_target_", "mix_p", "cutout_size"}


def composed(name):
    """The group as train.py sees it: sizes that follow others are numbers."""
    config = compose("train", [f"dataset={name}", "dataset.root=data"] if name == "folder" else [f"dataset={name}"])
    return OmegaConf.to_container(config.dataset, resolve=True)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_key_is_an_argument_with_the_functions_own_default(path):
    config = composed(path.stem)
    package, _, function = config["_target_"].rpartition(".")
    assert package == "datasets"
    parameters = dict(inspect.signature(getattr(datasets, function)).parameters)
    parameters.pop("seed", None)  # the run's
    assert set(config) - READ_BY_OTHERS == set(parameters)
    own = {"workers", "num_classes"} if path.stem == "imagenet" else set()
    for key in set(parameters) - {"root"} - own:
        default = parameters[key].default
        assert config[key] == pytest.approx(default if not isinstance(default, tuple) else list(default)), key


def test_probabilities_and_sides_of_the_paper():
    configs = {path.stem: composed(path.stem) for path in CONFIGS.glob("*.yaml")}
    assert set(configs) == {"cifar10", "cifar100", "digits", "folder", "imagenet"}
    assert {name: (c["mix_p"], c["cutout_size"]) for name, c in configs.items()} == {
        "cifar10": (0.5, 16),
        "cifar100": (0.5, 16),
        "digits": (0.5, 16),
        "folder": (1.0, 112),
        "imagenet": (1.0, 112),
    }
    assert configs["imagenet"]["num_classes"] == 1000
    for name, config in configs.items():
        assert config["name"] == ("data" if name == "folder" else name)
