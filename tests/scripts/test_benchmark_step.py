"""The measurements of the train step and of the trainer, on tiny settings, and their arithmetic."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from models import PyramidNet
from scripts.benchmarks import hours, step, trainer
from scripts.benchmarks.trainers import MODELS, step_of, trainer_of
from smoothmix.utils.distributed import ONE_RANK
from smoothmix.utils.numerics import full_precision


def test_every_form_of_the_step_is_timed(benchmarked):
    record, text = benchmarked("step", "--model", "trivial", "--batch", 4, "--steps", 2, "--repeats", 3)
    forms = [step.PLAIN["cpu"], "fp32, eager", "bf16, channels_last, eager", "mixing alone"]
    assert list(record["ms_per_step"]) == forms
    assert all(len(times) == 3 and min(times) > 0 for times in record["ms_per_step"].values())
    assert "gpu" not in record
    assert text.count("\n| ") == 2 + len(forms)


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
        trainer = trainer_of("trivial", 4, 8, ONE_RANK, tmp_path)
        trainer.execution = replace(trainer.execution, precision=precision)
        matmul = torch.get_float32_matmul_precision
        trainer.model.register_forward_hook(lambda *_: seen.update({name: (torch.backends.cudnn.allow_tf32, matmul())}))
        return trainer

    with full_precision():
        for advance in (
            step.plain_step(note("plain")), step_of(note("fp32")), step_of(note("tf32", "tf32"))
        ):  # fmt: skip
            advance()
            assert not torch.backends.cudnn.allow_tf32
    assert seen == {"plain": (True, "highest"), "fp32": (False, "highest"), "tf32": (True, "high")}


def test_the_plain_step_is_the_same_step(tmp_path, monkeypatch):
    """The same weights after two steps, so that what is compared is how they are computed."""
    monkeypatch.setitem(MODELS, "tiny", (8, 5, lambda: PyramidNet(11, 6, 5)))
    ours, plain = (trainer_of("tiny", 4, 8, ONE_RANK, tmp_path, precision="fp32", step="eager") for _ in range(2))
    for advance in (step_of(ours), step.plain_step(plain)):
        advance()
        advance()
    for one, other in zip(ours.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_flops_and_bytes_of_a_convolution_and_a_sum():
    x, weight = torch.zeros(2, 3, 8, 8), torch.zeros(4, 3, 1, 1)
    with step.Work() as work:
        y = F.conv2d(x, weight)
        (y.view(-1) + y.view(-1)).bfloat16()
    conv, addition, cast = work.operations
    assert conv == (2 * 2 * 4 * 3 * 64, 4 * (2 * 3 * 64 + 12 + 2 * 4 * 64))
    assert addition == (0, 3 * 4 * 512)
    assert cast == (0, (4 + 2) * 512)


def test_the_floor_is_the_slower_of_counting_and_moving():
    assert step.floor([(10, 1), (0, 6), (4, 4)], flops_per_second=2.0, bytes_per_second=1.0) == 5 + 6 + 4


def test_the_busy_share_counts_what_overlaps_once():
    assert step.busy([(0.0, 2.0), (1.0, 3.0), (2.0, 2.5), (6.0, 7.0), (9.0, 10.0)]) == pytest.approx(0.5)
    assert step.busy([(5.0, 6.0), (6.0, 8.0)]) == pytest.approx(1.0)


def test_the_trainer_is_timed_beside_the_bare_step(benchmarked):
    record, text = benchmarked("trainer", "--batch", 8, "--images", 24, 40, "--repeats", 2)
    assert record["steps"] == {"trainer, 24 images": 3, "trainer, 40 images": 5, trainer.BARE: 3}
    assert all(len(times) == 2 and min(times) > 0 for times in record["ms_per_step"].values())
    alone, more = (sorted(record["ms_per_step"][name]) for name in (trainer.BARE, "trainer, 24 images"))
    assert f"{sum(more) / 2 - sum(alone) / 2:.3f} |" in text
