"""Which records are found, which are counted, and what is said about the others."""

import os

import pytest

from smoothmix.reporting.records import read_folders
from smoothmix.utils.errors import UserError
from tests.reporting import made


def leave(folder, seed, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    made.run(seed=seed, **changes).write(folder / "summary.json")


def leave_corrupted(folder, errors, **changes):
    made.corrupted(top1_errors=errors, **changes).write(folder / "best.cifar100_c-files.json")


def test_every_record_is_found_once_and_hidden_folders_are_skipped(tmp_path):
    leave(tmp_path / "deep" / "er" / "seed0", 0)
    leave_corrupted(tmp_path / "deep" / "er" / "seed0", {"fog": {"1": 20.0}})
    for hidden in (".snapshot", "@eaDir", ".ipynb_checkpoints", "#snapshot", "lost+found"):
        leave(tmp_path / "deep" / hidden, 1)
    leave(tmp_path / "copy", 0)
    (tmp_path / "deep" / "best.notes.json").write_text("{}")
    os.symlink(tmp_path, tmp_path / "deep" / "loop")
    found = read_folders([tmp_path, tmp_path / "deep"])
    assert [record.path for record in found.runs] == [tmp_path / "copy" / "summary.json"]
    assert [record.top1_errors for record in found.corrupted] == [{"fog": {1: 20.0}}]
    assert found.runs[0].directory == tmp_path / "copy"
    assert found.problems == []
    with pytest.raises(UserError, match="there is no folder"):
        read_folders([tmp_path / "nowhere"])


def test_a_run_behind_a_link_counts_once(tmp_path):
    leave(tmp_path / "scratch" / "seed0", 0)
    (tmp_path / "outputs").mkdir()
    for name in ("cifar100", "again"):
        os.symlink(tmp_path / "scratch", tmp_path / "outputs" / name)
    found = read_folders([tmp_path / "outputs"])
    assert [record.seed for record in found.runs] == [0]
    assert found.problems == []


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"best": 1}', '"\\ud800'])
def test_a_damaged_record_is_named_and_the_others_count(tmp_path, text):
    leave(tmp_path / "a", 0)
    leave(tmp_path / "b", 1)
    (tmp_path / "b" / "summary.json").write_text(text)
    found = read_folders([tmp_path])
    assert [record.seed for record in found.runs] == [0]
    (sentence,) = found.problems
    assert sentence.startswith(f"{tmp_path}/b/summary.json is not a run record; move it away or run that run again (")


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    leave(tmp_path / "a", 0)
    leave(tmp_path / "b", 1)
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = read_folders([tmp_path])
    assert [record.seed for record in found.runs] == [0]
    (sentence,) = found.problems
    assert sentence == f"cannot read the folder {tmp_path}/b (Permission denied): make it readable, or move it away"


def test_seeds_of_a_setting_in_two_precisions_are_not_mixed(tmp_path):
    leave(tmp_path / "a" / "0", 0, precision="fp32")
    leave(tmp_path / "a" / "1", 1, precision="fp32")
    leave(tmp_path / "b" / "other", 0, precision="bf16", method="mixup")
    assert len(read_folders([tmp_path]).runs) == 3
    leave(tmp_path / "b" / "2", 2, precision="bf16")
    assert len(read_folders([tmp_path / "b"]).runs) == 2
    for folders in ([tmp_path], [tmp_path / "a", tmp_path / "b"]):
        found = read_folders(folders)
        assert {(record.method, record.precision) for record in found.runs} == {("cutmix", "fp32"), ("mixup", "bf16")}
        (sentence,) = found.problems
        assert "a/0/summary.json was trained in fp32 and " in sentence
        assert "b/2/summary.json, of the same setting, in bf16; the latter is not counted" in sentence


def test_contradicting_records_do_not_count(tmp_path):
    leave(tmp_path / "a", 0)
    leave(tmp_path / "b", 0, error=11.0)
    leave(tmp_path / "c", 1)
    leave_corrupted(tmp_path / "a", {"fog": {"1": 20.0}})
    leave_corrupted(tmp_path / "b", {"fog": {"1": 21.0}})
    found = read_folders([tmp_path])
    assert ([record.seed for record in found.runs], found.corrupted) == ([1], [])
    assert len(found.problems) == 2
    for sentence, name in zip(found.problems, ("summary.json", "best.cifar100_c-files.json"), strict=True):
        pair = f"{tmp_path}/a/{name} and {tmp_path}/b/{name} are records of the same run (cutmix, seed 0)"
        assert sentence.startswith(pair)


def test_a_record_of_other_weights_does_not_count(tmp_path):
    leave(tmp_path, 0)
    leave_corrupted(tmp_path, {}, weights_sha256="0123456789abcdef")
    assert len(read_folders([tmp_path]).corrupted) == 1
    (tmp_path / "best.pt").write_bytes(b"newer weights")
    found = read_folders([tmp_path])
    assert found.corrupted == []
    assert "was made with other weights than" in found.problems[0]
    os.utime(tmp_path / "best.pt", (0, 0))  # older than the record: not read
    assert len(read_folders([tmp_path]).corrupted) == 1
