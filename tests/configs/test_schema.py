from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from torch import nn
from torchvision.transforms import v2

from configs import build, schema
from smoothmix.errors import UserError

CONFIGS = Path(schema.__file__).parent


def composed(*overrides):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", list(overrides))


def checked(*overrides):
    return schema.check(composed(*overrides))


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 300
    return text


EXPERIMENTS = sorted(path.relative_to(CONFIGS / "experiment") for path in CONFIGS.glob("experiment/*/*.yaml"))
MODELS = sorted(path.stem for path in CONFIGS.glob("model/*.yaml"))
MIXINGS = sorted(path.stem for path in CONFIGS.glob("mixing/*.yaml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=str)
def test_every_experiment_is_the_papers_setting(path):
    dataset, row = path.parts[0], path.stem
    config = checked(f"experiment={dataset}/{row}")
    cifar = dataset.startswith("cifar")
    assert config["dataset"]["name"] == dataset
    assert config["model"]["name"] == ("pyramidnet200" if cifar else "resnet50")
    assert config["recipe"]["name"] == ("cifar" if cifar else "imagenet")
    per_image = row in ("autoaugment", "augmix")
    assert config["mixing"]["name"] == ("identity" if per_image or row == "baseline" else row)
    assert config["method"] == (row if per_image else config["mixing"]["name"])
    assert config["dataset"]["augment"] == (row if per_image else "none")
    if not cifar:
        knobs = (0.0, 0.0) if per_image else (0.4, 0.1)
        assert (config["dataset"]["jitter"], config["dataset"]["lighting"]) == knobs
    if row in ("cutmix", "smoothmix_s", "smoothmix_c"):
        assert config["mixing"]["p"] == (0.5 if cifar else 1.0)
    if row == "cutout":
        assert config["mixing"]["size"] == (16 if cifar else 112)


def test_the_experiments_are_the_papers_rows():
    rows = {str(path.with_suffix("")) for path in EXPERIMENTS}
    five = {"baseline", "cutout", "mixup", "cutmix", "smoothmix_c"}
    assert {f"{dataset}/{row}" for dataset in ("cifar10", "cifar100", "imagenet") for row in five} <= rows
    assert {"cifar100/smoothmix_s", "imagenet/autoaugment", "imagenet/augmix"} <= rows


@pytest.mark.parametrize("mixing", MIXINGS)
def test_every_mixing_group_builds_with_its_own_values(mixing):
    config = checked(f"mixing={mixing}")
    strategy = build.mixing(config, num_classes=10)
    assert strategy.num_classes == 10
    for key, value in config["mixing"].items():
        if key not in ("name", "_target_"):
            built = getattr(strategy, key)
            assert (list(built) if isinstance(value, list) else built) == value


@pytest.mark.parametrize("model", [name for name in MODELS if name != "timm"])
def test_every_model_group_passes(model):
    assert checked(f"model={model}")["model"]["name"] == model


def test_the_network_depends_on_the_seed_alone():
    weights = [
        [parameter.sum().item() for parameter in build.model(checked(f"seed={seed}"), 10).parameters()]
        for seed in (0, 0, 1)
    ]
    assert weights[0] == weights[1] != weights[2]


def test_classes_of_torchvision_and_timm_are_admitted():
    cutmix = checked("~mixing", "+mixing={name: theirs, _target_: torchvision.transforms.v2.CutMix, alpha: 0.5}")
    assert isinstance(build.mixing(cutmix, 7), v2.CutMix)
    network = checked("model=timm", "model.name=resnet18")
    assert isinstance(build.model(network, 7), nn.Module)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+recipe.epcohs=3", "unknown key recipe.epcohs; did you mean epochs?"),
        ("+sede=3", "unknown key sede; did you mean seed?"),
        ("+mixing.sgima=1", "unknown key mixing.sgima; did you mean sigma?"),
        ("+dataset.val_spilt=1", "unknown key dataset.val_spilt; did you mean val_split?"),
        ("+model.alhpa=1", "unknown key model.alhpa; did you mean alpha?"),
        ("~recipe.lr", "recipe.lr is missing"),
        ("~model.depth", "model.depth is missing"),
        ("~mixing.name", "method refers to a value that is not there"),
        ("~model.name", "model.name is missing"),
        ("~recipe", "recipe must be one of configs/recipe/, not None"),
        ("model=timm", "model.name has no value"),
        ("recipe.epochs=abc", "recipe.epochs: Value 'abc'"),
        ("recipe.nesterov=7.5", "recipe.nesterov"),
        ("recipe.decay_epochs=[a]", "recipe.decay_epochs"),
        ("seed=-1", "seed must be a finite number of at least 0, not -1"),
        ("precision=fp16", "precision must be fp32 or bf16"),
        ("model.depth=2.5", "model.depth=2.5 should be of type int"),
        ("model.bottleneck=1", "model.bottleneck=1 should be of type bool"),
        ("dataset.val_split=true", "dataset.val_split=True should be of type int"),
        ("mixing.p=${nothing}", "mixing.p refers to a value that is not there"),
        ("+mixing.num_classes=3", "mixing.num_classes is set by the program"),
        ("+model.num_classes=3", "model.num_classes is set by the program"),
    ],
)
def test_mistakes_get_one_sentence(override, words):
    with pytest.raises(UserError) as error:
        checked(override)
    assert words in one_sentence(error)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("mixing.p=2", "p is 2"),
        ("mixing.p=-0.1", "p is -0.1"),
        ("mixing.sigma=[0.5,0.1]", "sigma is"),
        ("mixing.sigma=[0.1]", "sigma is"),
        ("mixing.sigma=[a,b]", "sigma"),
    ],
)
def test_ranges_of_a_strategy_get_one_sentence(override, words):
    with pytest.raises(UserError) as error:
        build.mixing(checked(override), 10)
    assert words in one_sentence(error)


def test_ranges_of_a_model_get_one_sentence():
    with pytest.raises(UserError) as error:
        build.model(checked("model.depth=21"), 10)
    assert "20" in one_sentence(error)


@pytest.mark.parametrize(
    ("group", "target"),
    [
        ("model", "os.system"),
        ("model", "subprocess.Popen"),
        ("model", "builtins.eval"),
        ("model", "system"),
        ("model", "torch.load"),
        ("model", "torch.nn.Linear"),
        ("model", "timm.models.load_checkpoint"),  # unpickles
        ("model", "timm.create_model"),  # can unpickle
        ("model", "timm.models.helpers.torch.load"),
        ("model", "models.pyramidnet.math.sqrt"),
        ("model", "models.timm_models.UserError"),
        ("model", "torchvision.models._api.os.system"),
        ("model", "modelsx.PyramidNet"),
        ("model", "smoothmix.SmoothMixC"),
        ("mixing", "smoothmix.training.run_log.write_text"),  # writes files
        ("mixing", "smoothmix.mixing.strategy.torch.load"),
        ("mixing", "torchvision.transforms.functional.to_pil_image"),
        ("mixing", "models.PyramidNet"),
        ("dataset", "datasets.cifar.download"),
        ("dataset", "torchvision.datasets.CIFAR100"),
        ("dataset", "datasets.os"),
    ],
)
def test_targets_outside_the_allowed_places_are_refused(group, target):
    with pytest.raises(UserError) as error:
        checked(f"{group}._target_={target}")
    assert target in one_sentence(error)
