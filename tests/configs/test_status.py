"""The numbers of --status."""

from configs.slurm import job_name
from configs.status import report


def cells(text, row):
    line = next(line for line in text.splitlines() if f"| {row} |" in line)
    return [cell.strip() for cell in line.split("|")[3:-1]]


def test_seeds_in_each_state_and_the_hours_left(table_6, leave):
    jobs = table_6(5, "recipe.epochs=10")
    cutmix, smoothmix = jobs[:5], jobs[5:]
    leave.summary(cutmix[0], seconds=7000.0)
    leave.summary(cutmix[1], seconds=7400.0)
    leave.checkpoint(cutmix[2], epochs=4)
    leave.checkpoint(cutmix[3])
    cutmix[3].failure.write_text("no space\n")
    text = report(jobs, {job_name(smoothmix[0])})
    # 720 s an epoch: 6 + 10 + 10 epochs are left of CutMix, 50 of SmoothMix_C, whose speed is CutMix's as yet
    assert cells(text, "CutMix") == [
        "2/5", "-", "-", "1/5", "1/5", "1/5", "5.200", "720.0 s an epoch on some GPU (n=2)"
    ]  # fmt: skip
    assert cells(text, "SmoothMix_C")[:7] == ["-", "-", "1/5", "-", "-", "4/5", "10.0"]
    assert "2 of 10 runs are done" in text
    assert "left, training and clean test: 15.2" in text
    assert "failed: CutMix seed 3: no space" in text

    leave.summary(smoothmix[0], seconds=3600.0, world_sizes=[2])  # two devices: 720 s of one device an epoch
    assert cells(report(jobs), "SmoothMix_C")[-1] == "720.0 s an epoch on some GPU (n=1)"
    leave.summary(smoothmix[1], seconds=3600.0, device="another")
    leave.summary(smoothmix[2], seconds=1.0, world_sizes=[1, 2])  # not one speed
    leave.summary(smoothmix[3], seconds=1800.0, device="another")
    text = report(jobs)
    assert cells(text, "SmoothMix_C") == [
        "4/5", "-", "-", "-", "-", "1/5", "0.750", "270.0 s an epoch on another (n=2)"
    ]  # fmt: skip


def test_what_was_never_measured_is_said(table_6, leave):
    jobs = table_6(5, "precision=fp32")
    for changes in ({"model": "other"}, {"dataset": "other"}, {"precision": "bf16"}):
        leave.summary(jobs[0], **changes)
        text = report(jobs)
        assert cells(text, "SmoothMix_C")[-2:] == ["not measured", "not measured"]
        assert text.endswith("clean test: not measured")


def test_a_run_of_two_rows_is_counted_once_in_the_sum(table_6, leave):
    jobs = table_6(1, "recipe.epochs=1")
    leave.summary(jobs[0], seconds=36.0)
    assert "1 of 2 runs are done" in report([*jobs, *table_6(1, "recipe.epochs=1")])
    assert "clean test: 0.010" in report([*jobs, *table_6(1, "recipe.epochs=1")])


def test_a_damaged_record_is_named_and_not_counted(table_6, leave):
    jobs = table_6()
    leave.summary(jobs[0])
    (jobs[0].directory / "summary.json").write_text("{")
    text = report(jobs)
    assert f"failed: CutMix seed 0: {jobs[0].directory}/summary.json is not a run record" in text
    assert f"not counted: {jobs[0].directory}/summary.json is not a run record" in text
