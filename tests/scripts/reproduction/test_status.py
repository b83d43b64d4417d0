"""The numbers of --status."""

import re

import pytest

from scripts.reproduction.launch import launch
from scripts.reproduction.slurm import evaluation_name, training_name
from scripts.reproduction.status import report
from tests.mistakes import one_line


def cells(text, row):
    lines = (re.findall(r"not measured|[\d.]+ s per .*|\S+", line) for line in text.splitlines())
    return next(line[2:] for line in lines if line[1:2] == [row])


def test_seeds_in_each_state_and_the_hours_left(table_6, leave):
    jobs = table_6(5, "recipe.epochs=10")
    cutmix, smoothmix = jobs[:5], jobs[5:]
    leave.summary(cutmix[0], seconds=7000.0)
    leave.summary(cutmix[1], seconds=7400.0)
    leave.checkpoint(cutmix[2], epochs=4)
    leave.checkpoint(cutmix[3])
    cutmix[3].failure.write_text("no space\n")
    text = report(jobs, {training_name(smoothmix[0])})
    # 720 s per epoch: 6 + 10 + 10 epochs are left of CutMix, 50 of SmoothMix_C, whose speed is CutMix's as yet
    assert cells(text, "CutMix") == [
        "2/5", "-", "-", "1/5", "1/5", "1/5", "5.200", "720.0 s per epoch on some GPU (n=2)"
    ]  # fmt: skip
    assert cells(text, "SmoothMix_C")[:7] == ["-", "-", "1/5", "-", "-", "4/5", "10.0"]
    assert "2 of 10 runs are done" in text
    assert "left on one device, training and clean test: 15.2" in text
    assert "failed: CutMix seed 3: no space" in text

    leave.summary(smoothmix[0], seconds=3600.0, world_sizes=[2])  # two devices: 720 s of one device an epoch
    assert cells(report(jobs), "SmoothMix_C")[-1] == "720.0 s per epoch on some GPU (n=1)"
    leave.summary(smoothmix[1], seconds=3600.0, device="another")
    leave.summary(smoothmix[2], seconds=1.0, world_sizes=[1, 2])  # not one speed
    leave.summary(smoothmix[3], seconds=1800.0, device="another")
    text = report(jobs)
    assert cells(text, "SmoothMix_C") == [
        "4/5", "-", "-", "-", "-", "1/5", "0.750", "270.0 s per epoch on another (n=2)"
    ]  # fmt: skip


OTHER_WORK = ["model.alpha=32", "model.depth=14", "recipe.batch_size=64", "dataset.val_split=100", "dataset.name=x"]


@pytest.mark.parametrize("override", [*OTHER_WORK, "deterministic=true"])
def test_the_speed_of_other_work_does_not_count(table_6, leave, override):
    leave.summary(table_6(1, override)[0])
    assert cells(report(table_6(1)), "SmoothMix_C")[-2:] == ["not measured", "not measured"]
    assert cells(report(table_6(2, override)), "SmoothMix_C")[-1] == "10.0 s per epoch on some GPU (n=1)"


@pytest.mark.parametrize(
    ("word", "changes"),
    [
        ("precision=fp32", {"precision": "bf16"}),
        ("channels_last=false", {"channels_last": True}),
        ("step=eager", {"step": "graph"}),
    ],
)
def test_what_auto_became_is_compared(table_6, leave, word, changes):
    job = table_6(1, word)[0]
    leave.summary(job)
    assert cells(report(table_6(1, word)), "SmoothMix_C")[-1] == "10.0 s per epoch on some GPU (n=1)"
    leave.summary(job, **changes)
    text = report(table_6(1, word))
    assert cells(text, "SmoothMix_C")[-2:] == ["not measured", "not measured"]
    assert text.endswith("clean test: not measured")
    assert cells(report(table_6(1)), "SmoothMix_C")[-1] == "10.0 s per epoch on some GPU (n=1)"  # auto


@pytest.mark.parametrize(
    ("key", "value"),
    [("seconds", None), ("seconds", 0), ("device", None), ("precision", None), ("epochs", 0), ("world_sizes", None)],
)
def test_a_record_that_is_not_timed_is_named_and_not_counted(table_6, leave, key, value):
    job = table_6(1)[0]
    leave.summary(job, **{key: value})
    text = report(table_6(1))
    one_line(next(line for line in text.splitlines() if "not counted" in line), job.directory / "summary.json", key)
    assert "clean test: not measured" in text


def test_a_record_without_its_configuration_is_named_and_not_counted(table_6, leave):
    job = table_6(1)[0]
    leave.summary(job)
    (job.directory / "config.yaml").unlink()
    text = report(table_6(1))
    one_line(next(line for line in text.splitlines() if "not counted" in line), job.directory / "config.yaml")


def test_a_waiting_evaluation_is_queued(demo, leave):
    job = demo[0]
    leave.summary(job)
    assert cells(report(demo), "Baseline")[:4] == ["-", "-", "-", "1/1"]
    assert cells(report(demo, {evaluation_name(job)}), "Baseline")[:4] == ["-", "-", "1/1", "-"]
    assert cells(report(demo, {f"{training_name(job)}-other"}), "Baseline")[:4] == ["-", "-", "-", "1/1"]


def test_missing_photographs_are_named_in_the_status_and_at_launch(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("scripts.reproduction.jobs.unavailable", lambda *_: {"frost": "install photographs"})
    for how in ("--status", "launcher=print"):
        assert launch(["table=demo", f"output={tmp_path}", how]) == 0
        (note,) = (line for line in "".join(capsys.readouterr()).splitlines() if line.startswith("note: "))
        one_line(note, "frost", "digits_c", "install photographs")


def test_a_run_of_two_rows_is_counted_once_in_the_sum(table_6, leave):
    jobs = table_6(1, "recipe.epochs=1")
    leave.summary(jobs[0], seconds=36.0)
    assert "1 of 2 runs are done" in report([*jobs, *table_6(1, "recipe.epochs=1")])
    assert "clean test: 0.010" in report([*jobs, *table_6(1, "recipe.epochs=1")])
