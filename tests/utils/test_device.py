"""Which device a run gets, and what is said where a GPU is there and cannot be used."""

import pytest
import torch

from smoothmix.utils import distributed
from smoothmix.utils.distributed import init_distributed
from tests.mistakes import one_line, refused


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """A machine whose NVIDIA driver is too old for the installed torch."""
    (tmp_path / "version").touch()
    monkeypatch.setattr(distributed, "NVIDIA_DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_auto_says_why_it_uses_the_cpu(driver, capsys):
    assert init_distributed("auto").device.type == "cpu"
    said = capsys.readouterr().out
    one_line(said[:-1], "driver", "CUDA 13.0", "uses the CPU")


def test_cpu_needs_no_excuse(driver, capsys):
    assert init_distributed("cpu").device.type == "cpu"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("cuda", "visible", "words"),
    [
        ("13.0", None, "CUDA 13.0"),
        (None, None, "without CUDA"),
        ("13.0", "", "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_cuda_is_refused_with_what_to_install(driver, monkeypatch, cuda, visible, words):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with refused(words):
        init_distributed("cuda")


def test_no_gpu_at_all(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(distributed, "NVIDIA_DRIVER", tmp_path / "none")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert init_distributed("auto").device.type == "cpu"
    assert capsys.readouterr().out == ""
    with refused("CUDA", "device=cpu"):
        init_distributed("cuda")


@pytest.mark.parametrize("value", ["", "1"])
def test_one_rank_as_torchrun_or_an_empty_variable_says(monkeypatch, value):
    monkeypatch.setenv("WORLD_SIZE", value)
    assert init_distributed("cpu").world_size == 1


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"WORLD_SIZE": "two"}, ["WORLD_SIZE", "'two'"]),
        ({"WORLD_SIZE": "2", "RANK": "-1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}, ["RANK", "'-1'"]),
    ],
)
def test_ranks_that_torchrun_did_not_start(monkeypatch, variables, words):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with refused(*words):
        init_distributed("cpu")


def test_mps_is_refused():
    with refused("'mps'"):
        init_distributed("mps")


def test_cublas_is_told_before_its_first_product(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    init_distributed("cpu")
    assert distributed.os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
