"""Which device a run gets, and what is said where a GPU is there and cannot be used."""

import pytest
import torch

from smoothmix.utils import distributed
from smoothmix.utils.distributed import init_distributed, unsupported_gpu
from smoothmix.utils.errors import UserError


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
    assert "cannot use it: update the driver for CUDA 13.0" in said
    assert said.endswith("this run uses the CPU\n")


def test_cpu_needs_no_excuse(driver, capsys):
    assert init_distributed("cpu").device.type == "cpu"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("cuda", "visible", "sentence"),
    [
        ("13.0", None, "update the driver for CUDA 13.0"),
        (None, None, "is built without CUDA"),
        ("13.0", "", "CUDA_VISIBLE_DEVICES is empty"),
    ],
)
def test_cuda_is_refused_with_what_to_install(driver, monkeypatch, cuda, visible, sentence):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(UserError, match=sentence):
        init_distributed("cuda")


def test_no_gpu_at_all(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(distributed, "NVIDIA_DRIVER", tmp_path / "none")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert init_distributed("auto").device.type == "cpu"
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match="torch finds no CUDA device here; or use device=cpu"):
        init_distributed("cuda")


@pytest.mark.parametrize(
    ("capability", "built", "works"),
    [
        ((9, 0), ["sm_80", "sm_90"], True),
        ((8, 9), ["sm_80", "sm_90"], True),  # the same major version
        ((6, 1), ["sm_75", "sm_80"], False),
        ((12, 0), ["sm_80", "sm_90"], False),  # newer, and nothing to compile for it
        ((12, 0), ["sm_90", "compute_90"], True),
        ((9, 0), ["sm_90a"], True),
        ((7, 0), ["compute_75"], False),
    ],
)
def test_a_gpu_needs_kernels(monkeypatch, capability, built, works):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "some GPU")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    reason = unsupported_gpu(0)
    assert (reason == "") is works
    assert works or f"some GPU has compute capability {capability[0]}.{capability[1]}, for which torch" in reason


def test_mps_is_refused():
    with pytest.raises(UserError, match="not 'mps'; Apple's GPUs are not supported"):
        init_distributed("mps")


def test_cublas_is_told_before_its_first_product(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    init_distributed("cpu")
    assert distributed.os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
