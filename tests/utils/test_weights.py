"""Weights as other code leaves them."""

import sys

import pytest
import torch
from safetensors.torch import save_file

from smoothmix.utils.weights import read_weights
from tests.mistakes import refused

OWN = {"conv1.weight": torch.ones(2), "fc.weight": torch.zeros(3)}


def prefixed(*prefixes):
    return {prefix + name: tensor for prefix, (name, tensor) in zip(prefixes, OWN.items(), strict=True)}


@pytest.mark.parametrize(
    "content",
    [
        OWN,
        {"state_dict": prefixed("model.", "model."), "pytorch-lightning_version": "2.0", "epoch": 3},
        {"state_dict": prefixed("backbone.", "head."), "meta": {"epoch": 3}},  # MMPretrain
        {"net": prefixed("module.", "module."), "acc": 93.0},
        {"model_ema": prefixed("_orig_mod.module.", "_orig_mod.module.")},
        {"model": prefixed("model._orig_mod.", "model._orig_mod."), "model_ema": {"x": torch.ones(1)}},
    ],
)
def test_weights_are_found_under_the_usual_names(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    weights, names = read_weights(tmp_path / "w.pt")
    assert weights.keys() == OWN.keys()
    assert all(torch.equal(weights[name], OWN[name]) for name in OWN)
    assert names is None


@pytest.mark.parametrize("names", [["a", "a"], [], "ab", [1, 2], {"a": 0}])
def test_class_names_that_are_none(tmp_path, names):
    torch.save({"model": OWN, "class_names": names}, tmp_path / "w.pt")
    with refused(tmp_path / "w.pt", "class_names"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["bad.pt", "bad.safetensors"])
@pytest.mark.parametrize("content", [b"nonsense", {"state_dict": {"fc.weight": 3}}, [torch.zeros(3)], {}, None])
def test_files_that_hold_no_weights(tmp_path, content, name):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with refused(path):
        read_weights(path)


@pytest.mark.parametrize("text", ["{", '{"class_names": 3}'])
def test_a_damaged_description_beside_weights(tmp_path, text):
    save_file(OWN, tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors")[1] is None
    (tmp_path / "config.json").write_text(text)
    with refused(tmp_path / "config.json"):
        read_weights(tmp_path / "w.safetensors")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "w.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with refused("pip install safetensors"):
        read_weights(tmp_path / "w.safetensors")
