import re
from dataclasses import replace

import pytest
import torch
from torchvision.ops import StochasticDepth
from torchvision.transforms import v2

from models.dropblock import DropBlock
from models.shakedrop import ShakeDrop
from smoothmix.config import build, schema
from smoothmix.config.command_line import CONFIGS, compose
from smoothmix.reporting.methods import METHODS


def checked(*overrides):
    return schema.check(compose("train", overrides))


def drop_block(*keep, size, schedule):
    return {"drop_block_keep": [*keep], "drop_block_size": size, "drop_block_schedule": schedule}


REGULARISED = {
    "cifar100/stochdepth": {"drop_path_rate": 0.25},
    "cifar100/dropblock": drop_block(1.0, 0.9, 0.9, size=4, schedule="constant"),
    "cifar100/shakedrop": {"shake_drop": 0.5},
    "cifar100/shakedrop_cutmix": {"shake_drop": 0.5},
    "imagenet/stochdepth": {"drop_path_rate": 0.25},
    "imagenet/dropblock": drop_block(1.0, 1.0, 0.975, 0.9, size=7, schedule="linear"),
}
EXPERIMENTS = sorted(path.relative_to(CONFIGS / "experiment") for path in CONFIGS.glob("experiment/*/*.yaml"))
MIXINGS = sorted(path.stem for path in CONFIGS.glob("mixing/*.yaml"))


# rows whose name is not their mixing's
MIXING_OF = {
    "baseline": "identity",
    "stochdepth": "identity",
    "dropblock": "identity",
    "shakedrop": "identity",
    "shakedrop_cutmix": "cutmix",
    "center_gaussian_4": "center_gaussian",
    "center_gaussian_12": "center_gaussian",
    "sigma_8": "smoothmix_c",
    "sigma_12": "smoothmix_c",
    "sigma_16": "smoothmix_c",
}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=str)
def test_every_experiment_is_the_papers_setting(path):
    dataset, row = path.parts[0], path.stem
    config = checked(f"experiment={dataset}/{row}")
    cifar = dataset.startswith("cifar")
    assert config.dataset.name == dataset
    assert config.model.name == ("pyramidnet200" if cifar else "resnet50")
    assert config.recipe.name == ("cifar" if cifar else "imagenet")
    mixing = config.mixing.options
    per_image = row in ("autoaugment", "augmix")
    assert config.mixing.name == ("identity" if per_image else MIXING_OF.get(row, row))
    assert config.method == ("identity" if row == "baseline" else row)
    assert config.method in METHODS
    assert config.dataset.options["augment"] == (row if per_image else "none")
    if not cifar:
        knobs = (0.0, 0.0) if per_image else (0.4, 0.1)
        assert (config.dataset.options["jitter"], config.dataset.options["lighting"]) == knobs
    if config.mixing.name in ("cutmix", "smoothmix_s", "smoothmix_c", "center_gaussian"):
        assert mixing["p"] == (0.5 if cifar else 1.0)
    elif config.mixing.name != "identity":
        assert mixing["p"] == 1.0
    if config.mixing.name in ("smoothmix_c", "center_gaussian"):
        fixed = {"sigma_8": 8 / 32, "sigma_12": 12 / 32, "sigma_16": 16 / 32}.get(row)
        assert mixing["sigma"] == ([0.25, 0.5] if fixed is None else [fixed, fixed])
    if config.mixing.name == "center_gaussian":
        assert mixing["spread"] == int(row.rpartition("_")[2])
    if row == "cutout":
        assert mixing["size"] == (16 if cifar else 112)
    if row == "manifold_mixup":
        assert mixing["alpha"] == 1.0
        assert mixing["stages"] == ["stem" if cifar else "bn1", "layer1", "layer2", "layer3"]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=str)
def test_the_head_of_an_experiment_has_the_command_that_runs_it(path):
    text = (CONFIGS / "experiment" / path).read_text()
    names = re.findall(r"^#   python train\.py (?:-m )?experiment=(\S+)", text, re.M)
    assert {*names} == {str(path.with_suffix(""))}


def take_two_steps(network, strategy, side, generator):
    optimizer = torch.optim.SGD(network.train().parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    for step in range(2):
        if hasattr(strategy, "draw_layer"):
            strategy.draw_layer = lambda step=step: 4 * step  # the image and the last stage
        images, labels = torch.randn(2, 3, side, side, generator=generator), torch.tensor([0, 1])
        mixed, targets = strategy(images, labels)
        loss = torch.nn.functional.cross_entropy(network(mixed), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert torch.isfinite(loss)
        torch.testing.assert_close(targets.sum(1), torch.ones(2))
    for old, new in zip(before, network.parameters(), strict=True):
        assert torch.isfinite(new).all()
        assert not torch.equal(old, new)


@pytest.mark.slow
@pytest.mark.parametrize("path", EXPERIMENTS, ids=str)
def test_every_experiment_takes_two_steps_with_its_own_network(path):
    config = checked(f"experiment={path.with_suffix('')}")
    classes = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}[config.dataset.name]
    side = 32 if config.dataset.name.startswith("cifar") else 224
    network = build.model(config, classes, side)
    generator = torch.Generator().manual_seed(0)
    take_two_steps(network, build.mixing(config, classes, generator, network), side, generator)


# ---- experiments whose method lives inside the network


@pytest.mark.parametrize("experiment", REGULARISED)
def test_the_experiment_is_its_baseline_with_one_regulariser(experiment):
    dataset, row = experiment.split("/")
    config, baseline = checked(f"experiment={experiment}"), checked(f"experiment={dataset}/baseline")
    assert config.method == row
    assert config.model.options == baseline.model.options | REGULARISED[experiment]
    assert config.mixing.name == ("cutmix" if row == "shakedrop_cutmix" else "identity")
    assert replace(config, method=baseline.method, model=baseline.model, mixing=baseline.mixing) == baseline


@pytest.mark.parametrize(
    ("values", "module"),
    [
        (["+model.drop_path_rate=0.25"], StochasticDepth),
        (["+model.drop_block_keep=[1.0,0.9,0.9]", "+model.drop_block_size=4"], DropBlock),
        (["+model.shake_drop=0.5"], ShakeDrop),
    ],
)
def test_a_small_network_takes_the_same_settings(values, module):
    config = checked("model=pyramidnet8", "mixing=identity", *values)
    network, plain = build.model(config, 10, 32), build.model(checked("model=pyramidnet8"), 10, 32)
    assert any(isinstance(layer, module) for layer in network.modules())
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), plain.parameters(), strict=True))
    take_two_steps(network, build.mixing(config, 10), 32, torch.Generator().manual_seed(0))


# ---- groups


@pytest.mark.parametrize("mixing", MIXINGS)
def test_every_mixing_group_builds_with_its_own_values(mixing):
    config = checked(f"mixing={mixing}")
    strategy = build.mixing(config, num_classes=10)
    assert strategy.num_classes == 10
    for key, value in config.mixing.options.items():
        built = getattr(strategy, key)
        assert (list(built) if isinstance(value, list) else built) == value


def test_the_network_depends_on_the_seed_alone():
    weights = [
        [parameter.sum().item() for parameter in build.model(checked(f"seed={seed}"), 10, 32).parameters()]
        for seed in (0, 0, 1)
    ]
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.parametrize("target", ["smoothmix.torchvision_cutmix", "torchvision.transforms.v2.CutMix"])
def test_operations_of_others_have_names_of_this_repository_and_older_ones(target):
    config = checked("~mixing", f"+mixing={{name: theirs, _target_: {target}, alpha: 0.5}}")
    assert isinstance(build.mixing(config, 7), v2.CutMix)
    assert config.mixing.target == target  # as it stands in the hash


def test_timms_mixup_and_torchvisions_networks():
    config = checked("~mixing", "+mixing={name: theirs, _target_: smoothmix.timm_mixup, mixup_alpha: 0.8}")
    assert (build.mixing(config, 7).mixup_alpha, build.mixing(config, 7).num_classes) == (0.8, 7)
    tiny = {"growth_rate": 2, "block_config": [1, 1], "num_init_features": 4, "bn_size": 1}
    for target in ({"_target_": "torchvision.models.DenseNet"},  # of older runs
                   {"_target_": "models.torchvision_model", "architecture": "DenseNet"}):  # fmt: skip
        network = checked("~model", f"+model={{name: 5, {', '.join(f'{k}: {v}' for k, v in (target | tiny).items())}}}")
        assert network.model.name == "5"
        assert sum(parameter.numel() for parameter in build.model(network, 10, 32).parameters()) == 804


def test_manifold_mixup_in_the_stages_of_another_network():
    config = checked("mixing=manifold_mixup", "model=timm", "model.name=resnet18", "mixing.stages=[bn1,layer1]")
    network = build.model(config, 10, 32)
    build.mixing(config, 10, network=network)
    assert [len(part._forward_hooks) for part in (network.bn1, network.layer1, network.layer2)] == [1, 1, 0]
