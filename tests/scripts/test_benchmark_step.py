"""The measurements of the train step and of the trainer, on tiny settings, and their arithmetic."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from scripts.benchmarks import hours, ranks, step, step_gpu, trainer
from scripts.benchmarks.trainers import MODELS, trainer_of
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError
from smoothmix.utils.numerics import full_precision

CPU = Ranks(torch.device("cpu"))
MODULES = {ranks: "ranks", step: "step", trainer: "trainer"}
RECORDS = Path(__file__).resolve().parents[2] / "results" / "benchmarks"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs a measurement with these overrides and returns its record and Markdown."""

    def measure(module, *overrides):
        monkeypatch.chdir(tmp_path)  # git has no part in it
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        args = parser.parse_args([*map(str, overrides), "--output", str(tmp_path / "record.json")])
        args.run(args)
        return json.loads((tmp_path / "record.json").read_text()), (tmp_path / "record.md").read_text()

    return measure


def test_every_form_of_the_step_is_timed(run, monkeypatch):
    record, text = run(step, "--model", "trivial", "--batch", 4, "--steps", 2, "--repeats", 3)
    forms = [step.PLAIN["cpu"], "fp32, eager", "bf16, channels_last, eager", "mixing alone"]
    assert list(record["ms_per_step"]) == forms
    assert all(len(times) == 3 and min(times) > 0 for times in record["ms_per_step"].values())
    assert "gpu" not in record
    assert text.count("\n| ") == 5


@pytest.mark.parametrize(
    ("capability", "bf16", "precisions"),
    [((9, 0), True, ["fp32", "tf32", "bf16"]), ((7, 5), False, ["fp32", "fp16"]), ((6, 1), False, ["fp32"])],
)
def test_a_gpu_is_timed_in_the_precisions_it_has(monkeypatch, capability, bf16, precisions):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: bf16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    forms = step.forms_on(torch.device("cuda"))
    assert list(forms.values()) == [
        {"precision": precision, "step": how} for how in ("eager", "graph") for precision in precisions
    ]
    assert list(forms)[-1] in hours.FORMS  # what train.py does there


def test_each_form_has_its_own_tf32_and_the_plain_one_torchs(tmp_path):
    """TF32 of convolutions, and of products of matrices."""
    seen = {}

    def note(name, precision="fp32"):
        trainer = trainer_of("trivial", 4, 8, CPU, tmp_path)
        trainer.execution = replace(trainer.execution, precision=precision)
        matmul = torch.get_float32_matmul_precision
        trainer.model.register_forward_hook(lambda *_: seen.update({name: (torch.backends.cudnn.allow_tf32, matmul())}))
        return trainer

    with full_precision():
        for advance in (
            step.plain_step(note("plain")), step.our_step(note("fp32")), step.our_step(note("tf32", "tf32"))
        ):  # fmt: skip
            advance()
            assert not torch.backends.cudnn.allow_tf32
    assert seen == {"plain": (True, "highest"), "fp32": (False, "highest"), "tf32": (True, "high")}


def test_the_table_of_the_step_is_arithmetic():
    record = {
        "model": "resnet50", "batch": 10, "steps": 2, "device": "GPU", "threads": 1, "versions": {"torch": "2"},
        "load_average_before": 0.0, "command": "benchmark.py step",
        "ms_per_step": {
            step.PLAIN["cuda"]: [8.0, 9.0, 100.0], "bf16": [3.0, 2.0, 1.0], "mixing alone": [0.5, 0.25, 0.25]
        },
        "gpu": {
            "tflops_per_second": 700.0, "gb_per_second": 4000.0, "tflop": 0.9, "gb": 6.0, "floor_ms": 1.5,
            "share_of_floor": 0.75, "busy": 0.975, "kernels_us": {"convolve": 800.4},
        },
    }  # fmt: skip
    text = step.to_markdown(record)
    assert f"| {step.PLAIN['cuda']} | 9.00 | 8.00 to 100.00 | 1111.1 | 1.00 |" in text
    assert "| bf16 | 2.00 | 1.00 to 3.00 | 5000.0 | 4.50 |" in text
    assert "| mixing alone | 0.25 | 0.25 to 0.50 | - | - |" in text
    assert "75.0 % of what the step takes. The GPU is busy 97.5 % of the time" in text
    assert "| `convolve` | 800 |" in text


def test_the_plain_step_is_the_same_step(tmp_path, monkeypatch):
    """The same weights after two steps, so that what is compared is how they are computed."""
    from models import PyramidNet

    monkeypatch.setitem(MODELS, "tiny", (8, 5, lambda: PyramidNet(11, 6, 5)))
    ours, plain = (
        trainer_of("tiny", 4, 8, CPU, tmp_path, precision="fp32", step="eager") for _ in range(2)
    )  # fmt: skip
    for advance in (step.our_step(ours), step.plain_step(plain)):
        advance()
        advance()
    for one, other in zip(ours.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_flops_and_bytes_of_a_convolution_and_a_sum():
    x, weight = torch.zeros(2, 3, 8, 8), torch.zeros(4, 3, 1, 1)
    with step_gpu.Work() as work:
        y = F.conv2d(x, weight)
        (y.view(-1) + y.view(-1)).bfloat16()
    conv, addition, cast = work.operations
    assert conv == (2 * 2 * 4 * 3 * 64, 4 * (2 * 3 * 64 + 12 + 2 * 4 * 64))
    assert addition == (0, 3 * 4 * 512)
    assert cast == (0, (4 + 2) * 512)


def test_the_floor_is_the_slower_of_counting_and_moving():
    assert step_gpu.floor([(10, 1), (0, 6), (4, 4)], flops_per_second=2.0, bytes_per_second=1.0) == 5 + 6 + 4


def test_the_busy_share_counts_what_overlaps_once():
    assert step_gpu.busy([(0.0, 2.0), (1.0, 3.0), (2.0, 2.5), (6.0, 7.0), (9.0, 10.0)]) == pytest.approx(0.5)
    assert step_gpu.busy([(5.0, 6.0), (6.0, 8.0)]) == pytest.approx(1.0)


def test_the_trainer_is_timed_beside_the_bare_step(run, capsys):
    record, text = run(trainer, "--batch", 8, "--images", 24, 40, "--repeats", 2, "--epochs", 4)
    assert record["steps"] == {"trainer, 24 images": 3, "trainer, 40 images": 5, trainer.BARE: 3}
    assert all(len(times) == 2 and min(times) > 0 for times in record["ms_per_step"].values())
    assert len(record["mib_after_each_epoch"]) == 4
    alone, more = (sorted(record["ms_per_step"][name]) for name in (trainer.BARE, "trainer, 24 images"))
    assert f"{sum(more) / 2 - sum(alone) / 2:.3f} |" in text


def test_what_ranks_cost_beyond_the_collective():
    record = {
        "model": "m", "batch": 8, "ranks": 2, "parameters": 1234567, "device": "CPU", "threads": 1,
        "versions": {"torch": "2"}, "load_average_before": 0.0, "command": "benchmark.py ranks",
        "ms": {ranks.ALONE: [10.0, 12.0, 9.0], ranks.TOGETHER: [14.0], ranks.COLLECTIVE: [3.0], ranks.FLAG: [0.2]},
    }  # fmt: skip
    text = ranks.to_markdown(record)
    assert "sums 1,234,567 float32 gradients" in text
    assert "Beyond the collective a step of the run costs 1.00 ms, 10.0 % of a rank's step by itself. With" in text
    record["ms"] |= {f"{ranks.ALONE}, as a graph": [4.0], f"{ranks.TOGETHER}, as a graph": [9.0]}
    text = ranks.to_markdown(record)
    assert "costs 1.00 ms, 10.0 % of a rank's step by itself. Beyond the collective a step of the run, as a" in text
    assert "graph costs 2.00 ms, 50.0 % of a rank's step by itself. With" in text


def test_one_rank_has_nothing_to_compare(run):
    with pytest.raises(UserError, match="start torchrun --nproc_per_node=2 or more"):
        run(ranks)


COMMITTED = [(module, path) for module in MODULES for path in sorted(RECORDS.glob(f"{MODULES[module]}-*.json"))]


@pytest.mark.parametrize(("module", "path"), COMMITTED, ids=lambda value: getattr(value, "name", ""))
def test_a_committed_table_is_the_one_that_its_record_makes(module, path):
    assert path.with_suffix(".md").read_text() == module.to_markdown(json.loads(path.read_text()))
