from pathlib import Path

import pytest
import torch
import yaml

from smoothmix.training.recipe import Execution, Recipe, Settings
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError

RECIPES = Path(__file__).parents[2] / "configs" / "recipe"


def written(name):
    recipe = Recipe(**yaml.safe_load((RECIPES / f"{name}.yaml").read_text()))
    recipe.check()
    assert recipe.name == name
    return recipe


# (first epoch, last epoch, learning rate), as the paper's sec. 4.1.1 and the CutMix code state them
SCHEDULES = {
    "cifar": (32, [(0, 74, 0.25), (75, 149, 0.025), (150, 224, 0.0025), (225, 299, 0.00025)]),
    "cifar_cutmix": (64, [(0, 149, 0.25), (150, 224, 0.025), (225, 299, 0.0025)]),
    "imagenet": (128, [(0, 74, 0.1), (75, 149, 0.01), (150, 224, 0.001), (225, 299, 0.0001)]),
    "imagenet_cutmix": (256, [(0, 74, 0.1), (75, 149, 0.01), (150, 224, 0.001), (225, 299, 0.0001)]),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rate_of_each_epoch(name):
    batch_size, schedule = SCHEDULES[name]
    recipe = written(name)
    expected = [lr for first, last, lr in schedule for _ in range(first, last + 1)]
    assert recipe.epochs == len(expected) == 300
    assert [recipe.learning_rate(epoch) for epoch in range(300)] == pytest.approx(expected, rel=1e-12)
    assert recipe.batch_size == batch_size


@pytest.mark.parametrize("name", SCHEDULES)
def test_what_the_paper_takes_from_the_cutmix_code(name):
    recipe = written(name)
    assert (recipe.momentum, recipe.nesterov, recipe.weight_decay) == (0.9, True, 1e-4)


def test_every_recipe_file_is_valid():
    names = {path.stem for path in RECIPES.glob("*.yaml")}
    assert names > set(SCHEDULES)
    for name in names:
        written(name)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 0}, "recipe.epochs"),
        ({"epochs": 2**63}, "recipe.epochs"),
        ({"decay_epochs": [[75]]}, "recipe.decay_epochs"),
        ({"decay_epochs": [True]}, "recipe.decay_epochs"),
        ({"batch_size": -1}, "recipe.batch_size"),
        ({"lr": 0.0}, "recipe.lr"),
        ({"lr": float("nan")}, "recipe.lr"),
        ({"momentum": 1.0}, "recipe.momentum"),
        ({"momentum": 0.0}, "recipe.nesterov"),
        ({"decay_epochs": [150, 75]}, "recipe.decay_epochs"),
        ({"decay_epochs": [0, 75]}, "recipe.decay_epochs"),
        ({"decay_factor": 0.0}, "recipe.decay_factor"),
        ({"weight_decay": -1e-4}, "recipe.weight_decay"),
    ],
)
def test_values_out_of_range(changes, words):
    good = {"name": "x", "epochs": 3, "batch_size": 4, "lr": 0.1}
    Recipe(**good).check()
    with pytest.raises(UserError, match=words):
        Recipe(**(good | changes)).check()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": "fp8"}, "precision must be auto, fp32, tf32, bf16 or fp16, not 'fp8'"),
        ({"channels_last": "yes"}, "channels_last must be true, false or auto, not 'yes'"),
        ({"step": "fast"}, "step must be auto, eager or graph, not 'fast'"),
        ({"log_every": 0}, "log_every"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
    ],
)
def test_settings_out_of_range(changes, words):
    Settings().check()
    with pytest.raises(UserError, match=words):
        Settings(**changes).check()


CPU, GPU, GPUS = Ranks(torch.device("cpu")), Ranks(torch.device("cuda")), Ranks(torch.device("cuda"), 0, 2)


@pytest.mark.parametrize(
    ("ranks", "given", "expected"),
    [
        (CPU, {}, ("fp32", False, "eager")),
        (CPU, {"precision": "bf16"}, ("bf16", True, "eager")),
        (GPU, {}, ("bf16", True, "graph")),
        (GPU, {"precision": "fp32"}, ("fp32", False, "graph")),
        (GPU, {"channels_last": False}, ("bf16", False, "graph")),
        (GPU, {"step": "eager"}, ("bf16", True, "eager")),
        (GPUS, {}, ("bf16", True, "eager")),
        (GPUS, {"step": "graph"}, ("bf16", True, "graph")),
    ],
)
def test_auto_is_what_the_device_does_best(monkeypatch, ranks, given, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: True)
    assert Settings(**given).on(ranks) == Execution(*expected)
    assert Settings(**given).uses_channels_last(ranks.device) is expected[1]


@pytest.mark.parametrize(
    ("capability", "auto"), [((7, 5), ("fp16", True)), ((7, 0), ("fp16", True)), ((6, 1), ("fp32", False))]
)
def test_a_gpu_without_bf16(monkeypatch, capability, auto):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an old GPU")
    assert Settings().on(GPU) == Execution(*auto, "graph")
    with pytest.raises(UserError, match="an old GPU has no bfloat16; use precision=fp16"):
        Settings(precision="bf16").on(GPU)
    with pytest.raises(UserError, match=r"precision=tf32 needs an NVIDIA GPU of compute capability 8\.0"):
        Settings(precision="tf32").on(GPU)


def test_tf32_is_named_and_needs_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    assert Settings(precision="tf32").on(GPU) == Execution("tf32", False, "graph")
    with pytest.raises(UserError, match="precision=tf32 needs an NVIDIA GPU"):
        Settings(precision="tf32").on(CPU)


def test_a_graph_needs_a_gpu():
    with pytest.raises(UserError, match="step=graph needs a CUDA device, not cpu; use step=auto"):
        Settings(step="graph").on(CPU)
