"""Checkpoints that a stranger made: what evaluation does with their configuration and their weights."""

import copy
import os

import pytest
import torch

from smoothmix.config import build, schema
from smoothmix.config import run_directory as run_dir
from smoothmix.config.command_line import compose
from smoothmix.config.load_run import load_run
from smoothmix.config.options import EvalCorruptionOptions, EvalOptions, LoadOptions, check_options
from smoothmix.training import checkpoint
from smoothmix.utils.errors import UserError
from tests.mistakes import one_line

ANYTHING = [
    None, [], {}, {"a": 1}, {1: 2}, "x", "${seed}", "???", 1.5, float("nan"), True, -1, 10**30, torch.zeros(2), [[[]]],
    "a\nb", "\x1b[2J", "\x00", b"x", (1, 2), 1j, {"_target_": "os.system", "name": "x"},
    {"_target_": {"_target_": "os.system"}, "name": "x"},
]  # fmt: skip


MORE_PATHS = [
    *["seed", "method", "output", "precision", "recipe.epochs", "recipe.name", "dataset._target_", "dataset.val_split"],
    *["model.depth", "mixing._target_", "mixing.sigma", "mixing.new"],
]


@pytest.fixture(scope="module")
def good():
    """A configuration that trains the digits, and weights of its network."""
    config = schema.check(compose("train", ["recipe.epochs=1", "recipe.decay_epochs=[]"]))
    return config.to_dict(), build.model(config, 10, 32).state_dict()


@pytest.fixture
def attempt(tmp_path, good):
    """Return a function that loads a checkpoint of a changed configuration: its error, or None if it was accepted."""

    def make(config=None, weights=None):
        checkpoint.save_atomically(
            {"config": good[0] if config is None else config, "model": good[1] if weights is None else weights},
            tmp_path / "best.pt",
        )
        try:
            run = load_run(LoadOptions(checkpoint=str(tmp_path / "best.pt"), device="cpu"))
        except UserError as error:
            return str(error)
        # what was accepted is a configuration of known parts, with the weights that were stored
        loaded = run.config.to_dict()
        assert all(loaded[group]["_target_"] == good[0][group]["_target_"] for group in ("dataset", "model"))
        assert all(torch.equal(tensor, good[1][name]) for name, tensor in run.model.state_dict().items())
        return None

    return make


def changed(config, path, value):
    config = copy.deepcopy(config)
    *folders, last = path.split(".")
    node = config
    for folder in folders:
        node = node[folder]
    node[last] = value
    return config


def test_our_own_is_accepted(attempt):
    assert attempt() is None


@pytest.mark.parametrize(
    ("key", "value", "same"), [("decode", "exact", True), ("decode", "fast", False), ("verify", 0, True)]
)
def test_a_choice_that_is_no_longer_offered_is_ignored(attempt, good, key, value, same):
    """How training images were read (those to evaluate on were always read exactly), and whether CIFAR was checked."""
    old = changed(good[0], f"dataset.{key}", value)
    assert attempt(old) is None
    assert (run_dir.what_counts(old) == run_dir.what_counts(good[0])) == same


@pytest.mark.parametrize(
    "path",
    [
        *["recipe", "recipe.decay_epochs", "dataset", "dataset.name", "model", "model._target_", "mixing"],
        *(pytest.param(path, marks=pytest.mark.slow) for path in MORE_PATHS),
    ],
)
def test_any_value_in_the_place_of_another_is_accepted_or_one_sentence(attempt, good, path):
    refused = [attempt(changed(good[0], path, value)) for value in ANYTHING]
    assert sum(sentence is not None for sentence in refused) >= 4  # at least those that no YAML file can hold


@pytest.mark.parametrize(
    "group", ["model", *(pytest.param(name, marks=pytest.mark.slow) for name in ("dataset", "mixing"))]
)
@pytest.mark.parametrize(
    "target",
    [
        *["os.system", "builtins.__import__", "torch.hub.load", "hydra.utils.call", ".", "", "..os", "models."],
        *["smoothmix.__loader__", "models.__builtins__", "models.PyramidNet.__init__", "datasets.cifar.pickle.loads"],
        *["timm.models.os.system", "timm.models.load_checkpoint", "torchvision.models.resnet.nn.Module", "models.\x00"],
    ],
)
def test_a_target_elsewhere_runs_nothing(attempt, good, group, target, monkeypatch):
    ran = []
    monkeypatch.setattr(os, "system", ran.append)
    config = changed(good[0], f"{group}._target_", target)
    config[group] |= {"command": "x", "url": "x"}
    assert f"{group}._target_=" in attempt(config)
    assert ran == []


def test_a_target_below_another_is_never_called(attempt, good, monkeypatch):
    """Only the three groups' own targets are looked at; what is nested is a plain value."""
    ran = []
    monkeypatch.setattr(os, "system", ran.append)
    bomb = {"_target_": "os.system", "_args_": ["touch canary"], "command": "touch canary"}
    for path in ("mixing.p", "model.depth", "model.alpha", "dataset.val_split", "recipe.lr", "output"):
        assert attempt(changed(good[0], path, bomb)) is not None, path
    assert "unknown key" in attempt({**good[0], "hydra": {"callbacks": {"x": bomb}}})
    timm = {"name": "resnet18", "_target_": "models.timm_model"}
    for option in ("norm_layer", "act_layer", "block_args"):
        assert attempt({**good[0], "model": {**timm, option: bomb}}) is not None, option
    attempt(changed(good[0], "mixing.sigma", bomb))  # not used in an evaluation
    assert ran == []


def test_a_configuration_that_refers_to_the_environment_is_refused(attempt, good, monkeypatch):
    monkeypatch.setenv("A_SECRET", "a-secret-value")
    for path in ("method", "dataset.name", "recipe.name", "output"):
        sentence = attempt(changed(good[0], path, "${oc.env:A_SECRET}"))
        assert "refers to other values" in sentence
        assert "a-secret-value" not in sentence


def nested(value, depth, copies=1):
    """Lists of lists, `depth` deep, each `copies` times the same one: a few bytes, copies ** depth values."""
    for _ in range(depth):
        value = [value] * copies
    return value


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("mixing.sigma", nested(0.5, 10, copies=10), "values"),
        ("mixing.sigma", nested(0.5, 150), "values"),
        ("recipe.decay_epochs", [*range(1, 10**6)], "values"),
        ("model.depth", 6 * 10**5, "model.depth=600000"),
        ("dataset", {"name": "a", "_target_": "datasets.cifar10", "root": "x", "workers": 400}, "workers=400"),
        ("dataset", {"name": "a", "_target_": "datasets.class_folders", "root": "x", "resize": 200000}, "resize=20"),
        (
            "model",
            {"name": "a", "_target_": "models.PyramidNet", "depth": 1100, "alpha": 10000, "bottleneck": False},
            "larger",
        ),
        (
            "model",
            {
                "name": "a",
                "_target_": "torchvision.models.VisionTransformer",
                "image_size": 32,
                "patch_size": 16,
                "num_layers": 10**6,
                "num_heads": 1,
                "hidden_dim": 2,
                "mlp_dim": 2,
            },
            "larger",
        ),
    ],
)
@pytest.mark.timeout(20)
def test_a_configuration_that_asks_for_too_much_is_refused_at_once(attempt, good, path, value, words):
    one_line(attempt(changed(good[0], path, value)), words)


@pytest.mark.parametrize("command", ["eval", "eval_corruption"])
def test_a_download_that_a_message_recommends_can_be_asked_for(command):
    asked = compose(command, ["run=x", "dataset.download=true", *(["benchmark=digits_c"] * (command != "eval"))])
    schemas = {"eval": EvalOptions, "eval_corruption": EvalCorruptionOptions}
    assert check_options(asked, schemas[command]).dataset["download"] is True


def weights_of(kind, weights):
    name = "stem.0.weight"
    tensor = weights[name]
    changes = {
        "a number": {name: 3},
        "another key": {1: tensor},
        "complex": {name: tensor.to(torch.complex64)},
        "sparse": {name: tensor.to_sparse()},
        "half": {name: tensor.half()},
        "without values": {name: tensor.to("meta")},
        "NaN": {name: tensor * float("nan")},
        "infinite": {name: tensor / 0},
        "another shape": {name: tensor[:1]},
    }
    return {**weights, **changes[kind]}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("a number", ["stem.0.weight", "int"]),
        ("another key", ["1 is", "missing"]),
        ("complex", ["stem.0.weight", "complex64"]),
        ("sparse", ["stem.0.weight", "plain values"]),
        ("half", ["stem.0.weight", "float16"]),
        ("without values", ["stem.0.weight", "plain values"]),
        ("NaN", ["stem.0.weight", "finite"]),
        ("infinite", ["stem.0.weight", "finite"]),
        ("another shape", ["stem.0.weight", (1, 3, 3, 3)]),
    ],
)
def test_weights_that_are_none_of_this_network(attempt, good, kind, words):
    one_line(attempt(weights=weights_of(kind, good[1])), *words)
