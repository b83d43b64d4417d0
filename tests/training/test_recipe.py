from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from smoothmix import Cutout, Identity, SmoothMixC
from smoothmix.training.recipe import Execution, Recipe, Settings, check_fit
from smoothmix.utils.distributed import Ranks
from tests.mistakes import refused

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
    assert (recipe.momentum, recipe.nesterov, recipe.weight_decay) == (0.9, True, 1e-4)


def test_every_recipe_file_is_valid():
    names = {path.stem for path in RECIPES.glob("*.yaml")}
    assert names > set(SCHEDULES)
    for name in names:
        written(name)


@pytest.mark.parametrize(
    ("images", "epochs", "batch_size"),
    [(3, 60, 8), (120, 60, 8), (255, 31, 8), (256, 60, 16), (1000, 32, 32), (6400, 10, 64), (50_000, 10, 64)],
)
def test_finetuning_by_the_number_of_images(images, epochs, batch_size):
    recipe = written("finetune").fitted(images)
    recipe.check()
    assert (recipe.epochs, recipe.batch_size) == (epochs, batch_size)
    assert recipe.decay_epochs == [epochs // 2, epochs * 3 // 4]
    assert replace(recipe, epochs=5).fitted(images).epochs == 5


CPU, GPU, GPUS = Ranks(torch.device("cpu")), Ranks(torch.device("cuda")), Ranks(torch.device("cuda"), 0, 2)
GOOD = {"name": "x", "epochs": 3, "batch_size": 4, "lr": 0.1}
OUT_OF_RANGE = [
    *[("epochs", value) for value in (0, 2**63)],
    *[("decay_epochs", value) for value in ([[75]], [True], [150, 75], [0, 75])],
    *[("lr", value) for value in (0.0, float("nan"))],
    *[("batch_size", -1), ("momentum", 1.0), ("nesterov", True), ("decay_factor", 0.0), ("weight_decay", -1e-4)],
    *[("seed", value) for value in (-1, 2**63)],
    *[("precision", "fp8"), ("channels_last", "yes"), ("step", "fast"), ("log_every", 0), ("logger", "tensorbord")],
]


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_named(name, value):
    Recipe(**GOOD).check()
    Settings().check()
    of_recipe = name in Recipe.__dataclass_fields__
    other = {"momentum": 0.0} if name == "nesterov" else {}
    checked = Recipe(**(GOOD | other | {name: value})) if of_recipe else Settings(**{name: value})
    with refused(("recipe." if of_recipe else "") + name):
        checked.check()


@pytest.mark.parametrize(
    ("ranks", "images", "mixing", "words"),
    [
        (Ranks(torch.device("cpu"), 0, 3), {}, Identity, ["recipe.batch_size=4", "3 ranks"]),
        (Ranks(torch.device("cpu"), 0, 2), {"sizes": {"train": 1}}, Identity, ["1 training images", "2 ranks"]),
        (CPU, {"views": 3}, SmoothMixC, ["SmoothMixC", "3 views", "mixing=identity"]),
        (CPU, {"views": 3}, Cutout, ["Cutout", "3 views", "mixing=identity"]),
        (CPU, {"views": 3}, Identity, None),
        (CPU, {}, Cutout, None),
        (Ranks(torch.device("cpu"), 0, 2), {"sizes": {"test": 1}}, Identity, None),  # the data set's own sentence
    ],
)
def test_parts_that_do_not_fit_together(ranks, images, mixing, words):
    data = SimpleNamespace(**({"sizes": {"train": 9}, "views": 1} | images))
    with nullcontext() if words is None else refused(*words):
        check_fit(Recipe(**GOOD), data, mixing(num_classes=4), ranks)


@pytest.mark.parametrize(
    ("ranks", "given", "expected"),
    [
        (CPU, {}, ("fp32", False, "eager")),
        (CPU, {"precision": "bf16"}, ("bf16", True, "eager")),
        (GPU, {}, ("bf16", True, "graph")),
        (GPU, {"precision": "fp32"}, ("fp32", False, "graph")),
        (GPU, {"precision": "tf32"}, ("tf32", False, "graph")),
        (GPU, {"channels_last": False}, ("bf16", False, "graph")),
        (GPU, {"step": "eager"}, ("bf16", True, "eager")),
        (GPUS, {}, ("bf16", True, "eager")),
        (CPU, {"step": "graph"}, ["step=graph", "cpu", "step=auto"]),
        (GPUS, {"step": "graph"}, ["step=graph", "2 ranks", "step=eager"]),
        (CPU, {"precision": "tf32"}, ["precision=tf32", "precision=fp32"]),
    ],
)
def test_auto_is_what_the_device_does_best(monkeypatch, ranks, given, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    if isinstance(expected, list):
        with refused(*expected):
            Settings(**given).on(ranks)
    else:
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
    for precision, remedy in (("bf16", "precision=fp16"), ("tf32", "precision=fp32")):
        with refused(f"precision={precision}", remedy):
            Settings(precision=precision).on(GPU)
