import pytest
import torch

from smoothmix.training.recipe import Execution, Settings
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError

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
    ],
)
def test_auto_is_what_the_device_does_best(monkeypatch, ranks, given, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: True)
    assert Settings(**given).on(ranks) == Execution(*expected)
    assert Settings(**given).uses_channels_last(ranks.device) is expected[1]


def test_a_gpu_without_bf16(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an old GPU")
    assert Settings().on(GPU) == Execution("fp32", False, "graph")
    with pytest.raises(UserError, match="an old GPU has no bfloat16; use precision=fp32"):
        Settings(precision="bf16").on(GPU)


@pytest.mark.parametrize(("ranks", "where"), [(CPU, "1 rank on cpu"), (GPUS, "2 ranks on cuda")])
def test_a_graph_needs_one_gpu(monkeypatch, ranks, where):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: True)
    with pytest.raises(UserError, match=f"step=graph needs one process and a CUDA device, not {where}; use step=auto"):
        Settings(step="graph").on(ranks)
