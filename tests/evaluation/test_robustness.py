import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from smoothmix.evaluation import classification
from smoothmix.evaluation.averages import complete
from smoothmix.evaluation.calibration import MEASURES
from smoothmix.evaluation.robustness import CorruptionRecord, evaluate_pairs, lock, resumed
from smoothmix.utils.distributed import ONE_RANK
from smoothmix.utils.environment import environment
from tests.batches import Listed
from tests.mistakes import refused

IDENTITY = {
    **dict.fromkeys(("dataset", "model", "method", "recipe", "config_hash"), "x"), "seed": 0, "epochs": 3,
    "benchmark": "digits_c", "weights": "best", "weights_sha256": "abc", "source": "files",
}  # fmt: skip


def begin(path, identity=IDENTITY):
    begun = resumed(path, identity, ONE_RANK.device)
    return CorruptionRecord(**identity, **begun, clean_top1_error=1.5, extra={"images": 10}, path=path)


def evaluate(record, cells):
    evaluate_pairs(predict, cells, ["fog", "snow"], 10, record)


class Even(nn.Module):
    """Right on images whose value is even."""

    def forward(self, images):
        wrong = images.flatten(1)[:, 0].long() % 2
        return nn.functional.one_hot(wrong, 2).float()


def predict(batches):
    return classification.predict(Even(), batches, ONE_RANK)


class Cells:
    """Ten images a cell, of which `severity` are wrong; counts what was asked for."""

    def __init__(self, images=10):
        self.images, self.asked = images, []

    def __call__(self, name, severity):
        self.asked.append((name, severity))
        values = (torch.arange(self.images) < severity).float()
        parts = values.reshape(-1, 1, 1, 1).split(4)
        return Listed((part, torch.zeros(len(part), dtype=torch.int64)) for part in parts)


def test_each_cell_has_its_error(tmp_path):
    record, cells = begin(tmp_path / "r.json"), Cells()
    evaluate(record, cells)
    expected = {severity: 10.0 * severity for severity in range(1, 6)}
    assert record.top1_errors == {"fog": expected, "snow": expected}
    assert CorruptionRecord.read(tmp_path / "r.json") == record
    # two logits, 1 and 0: the same confidence everywhere
    confidence = math.e / (math.e + 1)
    for severity in range(1, 6):
        gap = 100 * abs(1 - severity / 10 - confidence)
        squares = (1 - severity / 10) * (1 - confidence) ** 2 + severity / 10 * confidence**2
        measures = {"loss": severity / 10 - math.log(confidence), "brier": 2 * squares, "ece": gap, "adaptive_ece": gap}
        found = {measure: record.measured(measure)[1]["snow"][severity] for measure in MEASURES}
        assert found == pytest.approx(measures, rel=1e-6)
    stored = json.loads((tmp_path / "r.json").read_text())
    assert stored["top1_errors"]["fog"] == {str(severity): error for severity, error in expected.items()}
    assert stored["images"] == 10
    assert [start["errors"] for start in record.starts] == [0]
    assert {key: stored[key] for key in environment(ONE_RANK.device)} == environment(ONE_RANK.device)
    assert len(cells.asked) == 10


def test_an_interrupted_evaluation_goes_on_with_the_next_cell(tmp_path):
    path = tmp_path / "r.json"

    class Interrupted(Cells):
        def __call__(self, name, severity):
            if (name, severity) == ("snow", 3):
                raise KeyboardInterrupt
            return super().__call__(name, severity)

    with pytest.raises(KeyboardInterrupt):
        evaluate(begin(path), Interrupted())
    cells = Cells()
    evaluate(begin(path), cells)
    assert cells.asked == [("snow", 3), ("snow", 4), ("snow", 5)]
    evaluate(begin(tmp_path / "whole.json"), Cells())
    stored, whole = CorruptionRecord.read(path), CorruptionRecord.read(tmp_path / "whole.json")
    assert [start["errors"] for start in stored.starts] == [0, 7]
    assert len(whole.starts) == 1
    assert replace(stored, starts=whole.starts) == whole


def test_an_older_record_goes_on_and_has_calibration_from_then_on(tmp_path):
    path = tmp_path / "r.json"
    begin(path).write(path)
    older = {key: value for key, value in json.loads(path.read_text()).items() if "calibration" not in key}
    path.write_text(json.dumps(older | {"top1_errors": {"fog": {"1": 12.5}}}))
    assert math.isnan(CorruptionRecord.read(path).measured("ece")[0])
    record, cells = begin(path), Cells()
    evaluate(record, cells)
    assert ("fog", 1) not in cells.asked
    assert record.top1_errors["fog"][1] == 12.5
    assert sorted(record.measured("ece")[1]["fog"]) == [2, 3, 4, 5]
    assert complete(record.measured("ece")[1]["snow"])


def test_a_record_resumed_at_another_commit_lists_both(tmp_path, monkeypatch):
    """Its top level keeps the first; a record without starts, from older code, is the first start itself."""
    path, commits = tmp_path / "r.json", []
    for commit in ("a" * 40, "b" * 40 + "-dirty"):
        monkeypatch.setattr("smoothmix.utils.environment._git_commit", lambda commit=commit: (commit, ""))
        begin(path).write(path)
        commits.append(commit)
        assert json.loads(path.read_text())["git_commit"] == commits[0]
        assert [start["git_commit"] for start in CorruptionRecord.read(path).starts] == commits
        if len(commits) == 1:
            old = {key: value for key, value in json.loads(path.read_text()).items() if key != "starts"}
            path.write_text(json.dumps(old))
    assert "time" not in CorruptionRecord.read(path).starts[0]


def test_a_record_of_other_weights_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "r.json"
    begin(path).write(path)
    before = path.read_text()
    with refused(path, "source", "weights_sha256"):
        resumed(path, IDENTITY | {"weights_sha256": "def", "source": "generated (seed 0)"}, ONE_RANK.device)
    assert path.read_text() == before


WRONG = [
    *({"top1_errors": errors} for errors in ({"fog": 3}, {"fog": {"x": 1}}, {"fog": {"1": None}}, {"dust": {}})),
    *({"calibration": wrong} for wrong in (3, {"ece": 3}, {"ece": {"fog": {"1": "x"}}}, {"sharpness": {}})),
    *({"clean_calibration": {"ece": None}}, {"starts": 3}, {"starts": ["x"]}),
]


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", "\x00\x80"),
        *(json.dumps({**IDENTITY, "clean_top1_error": 1.5, "top1_errors": {}} | wrong) for wrong in WRONG),
    ],
)
def test_a_damaged_record_is_one_sentence(tmp_path, content):
    path = tmp_path / "r.json"
    path.write_text(content)
    with refused(path):
        resumed(path, IDENTITY, ONE_RANK.device)


def test_a_record_whose_folder_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with refused(tmp_path / "file", "output=FOLDER"):
        lock(tmp_path / "file" / "r.json")


def test_a_cell_of_another_size_is_refused(tmp_path):
    record = begin(tmp_path / "r.json")
    with refused("fog", "severity 1", 9, 10):
        evaluate_pairs(predict, Cells(9), ["fog"], 10, record)
    assert (record.top1_errors, record.calibration) == ({}, {})
