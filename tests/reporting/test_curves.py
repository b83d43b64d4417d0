"""Learning curves: logs as they are read, means over seeds, what is drawn."""

import json

import pytest

from smoothmix.reporting.curves import learning_curves, read_log
from smoothmix.utils.errors import UserError
from tests.reporting import made


def run(folder, method, seed, errors, config_hash=None):
    directory = folder / f"{method}{seed}{config_hash}"
    directory.mkdir()
    lines = [
        {"epoch": epoch, "test_top1_error": error, "test_loss": error / 50} for epoch, error in enumerate(errors, 1)
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return made.run(method, seed=seed, config_hash=config_hash or method, path=directory / "summary.json")


def test_learning_curves_show_means_and_deviations(tmp_path):
    records = [run(tmp_path, "cutmix", seed, [50 + seed, 40 + 4 * seed]) for seed in range(3)]
    records.append(run(tmp_path, "identity", 0, [60, 30]))
    error, loss = learning_curves(records, "title").axes[:2]
    lines = {line.get_label(): list(line.get_ydata()) for line in error.lines if line.get_label()[0] != "_"}
    assert list(lines) == ["Baseline", "CutMix"]
    assert lines["CutMix"] == [51, 44]
    assert lines["Baseline"] == [60, 30]
    assert len(error.lines) == 2
    band = error.collections[1].get_paths()[0].vertices
    assert set(band[band[:, 0] == 2][:, 1]) == {40, 48}  # one sample deviation of 40, 44, 48 to either side
    assert list(loss.lines[0].get_ydata()) == pytest.approx([60 / 50, 30 / 50])


def test_two_settings_of_a_method_are_two_lines(tmp_path):
    records = [run(tmp_path, "cutmix", 0, [50, 40], "aa"), run(tmp_path, "cutmix", 0, [70, 60], "bb")]
    lines = [list(line.get_ydata()) for line in learning_curves(records, "title").axes[0].lines]
    assert lines == [[50, 40], [70, 60]]


@pytest.mark.parametrize("text", ["", "{", '{"epoch": 2}\n', '{"epoch": 1, "test_top1_error": 101, "test_loss": 1}'])
def test_a_damaged_log_is_named(tmp_path, text):
    record = run(tmp_path, "cutmix", 0, [50])
    (tmp_path / "cutmix0None" / "metrics.jsonl").write_text(text)
    with pytest.raises(UserError, match=r"metrics\.jsonl is not the log of a run"):
        learning_curves([record], "title")


def test_epochs_without_an_evaluation_are_not_drawn(tmp_path):
    record = run(tmp_path, "cutmix", 0, [50])
    lines = ['{"epoch": 1, "train_loss": 2.0}', '{"epoch": 2, "test_top1_error": 40.0, "test_loss": 1.0}']
    (record.directory / "metrics.jsonl").write_text("\n".join(lines))
    assert read_log(record)["epoch"].tolist() == [2]
