"""Which records are found, which are counted, and what is said about the others."""

import os

import pytest

from smoothmix.reporting.frames import read_folders, write
from tests.mistakes import refused
from tests.reporting import made


def leave(folder, seed, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    made.run(seed=seed, **changes).write(folder / "summary.json")


def leave_corrupted(folder, errors, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    made.corrupted(top1_errors=errors, **changes).write(folder / "best.cifar100_c-files.json")


def seeds(results):
    return [int(seed) for seed in results.runs["seed"]]


def test_every_record_is_found_once_and_hidden_folders_are_skipped(tmp_path):
    leave(tmp_path / "deep" / "er" / "seed0", 0)
    leave_corrupted(tmp_path / "deep" / "er" / "seed0", {"fog": {"1": 20.0}})
    for hidden in (".snapshot", "@eaDir", ".ipynb_checkpoints", "#snapshot", "lost+found"):
        leave(tmp_path / "deep" / hidden, 1)
    leave(tmp_path / "copy", 0)
    (tmp_path / "deep" / "best.notes.json").write_text("{}")
    os.symlink(tmp_path, tmp_path / "deep" / "loop")
    os.symlink(tmp_path / "copy", tmp_path / "again")
    found = read_folders([tmp_path, tmp_path / "deep"])
    (line,) = found.runs.itertuples()
    assert (line.run, line.method, line.seed) == ("cifar100/m/cutmix/r-cutmix/seed0", "cutmix", 0)
    assert (line.best_top1, line.last_top1, line.last_top5) == (9.5, 10.0, 1.0)
    fog = found.errors[found.errors["corruption"] == "fog"].iloc[0]
    assert (fog["severity_1"], fog.isna()["severity_2"], fog.isna()["mean"]) == (20.0, True, True)
    assert found.problems == []
    with refused(tmp_path / "nowhere"):
        read_folders([tmp_path / "nowhere"])


def test_what_was_written_as_csv_is_read_back_as_it_was(tmp_path):
    facts = {"images": {"train": 50, "test": 10}, "parameters": 7, "device": "a, b", "git_commit": "0123"}
    leave(tmp_path / "runs" / "a", 0, data_fingerprint="f", precision="fp32", **facts)
    leave(tmp_path / "runs" / "b", 1)
    leave_corrupted(tmp_path / "runs" / "a", {"fog": {str(level): 20.125 + level for level in range(1, 6)}})
    found = read_folders([tmp_path / "runs"])
    (tmp_path / "kept").mkdir()
    write(found, tmp_path / "kept")
    again = read_folders([tmp_path / "kept"])
    columns = [name for name in found.runs if name != "directory"]
    for one, other in ((found.runs[columns], again.runs[columns]), (found.errors, again.errors)):
        assert one.map(str).replace("None", "nan").equals(other.map(str).replace("None", "nan"))
    both = read_folders([tmp_path])  # the copies are the same runs
    assert (seeds(both), both.problems) == ([0, 1], [])


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("cifar100/m/a/r-a/seed0,3,test,1e9,,10,", "best_top1"),
        ("cifar100/m/a/r-a/seed0,3,test,9,,-5,", "last_top1"),
        ("cifar100/m/a/r-a/seed0,3,test,9,,nan,", "last_top1"),
        ("cifar100/m/a/r-a/seedx,3,test,9,,10,", "seedx"),
        ("cifar100/m/a/r-a/seed0,=1+1,test,9,,10,", "epochs"),
        ("cifar100/m/a/r-a/seed0,3,test,9,,", "last_top1"),
        ("=1+1,3,test,9,,10,", "=1+1"),
    ],
)
def test_a_csv_file_obeys_the_records_rules(tmp_path, line, named):
    (tmp_path / "runs.csv").write_text(f"run,epochs,selected_on,best_top1,best_top5,last_top1,last_top5\n{line}\n")
    found = read_folders([tmp_path])
    (sentence,) = found.problems
    assert f"{tmp_path}/runs.csv, line 2" in sentence
    assert named in sentence
    assert found.runs.empty


@pytest.mark.parametrize("text", ["", "run\na\n", 'run,epochs\n"', "\udcff"])
def test_another_csv_file_of_that_name_is_no_study(tmp_path, text):
    (tmp_path / "runs.csv").write_bytes(text.encode(errors="surrogateescape"))
    errors = "run,weights,benchmark,source,measure,corruption\na/b/c/d-e,w,x,y,top1_error,mud\n"
    (tmp_path / "errors.csv").write_text(errors)
    found = read_folders([tmp_path])
    assert found.runs.empty
    assert found.errors.empty
    assert len(found.problems) == 2


def test_a_damaged_record_is_named_and_the_others_count(tmp_path):
    leave(tmp_path / "a", 0)
    leave(tmp_path / "b", 1)
    (tmp_path / "b" / "summary.json").write_text('{"best": 1}')
    found = read_folders([tmp_path])
    assert seeds(found) == [0]
    (sentence,) = found.problems
    assert f"{tmp_path}/b/summary.json" in sentence


@pytest.mark.parametrize(
    ("name", "first", "second"), [("precision", "fp32", "bf16"), ("data_fingerprint", "0a1b", "2c3d")]
)
def test_seeds_of_a_setting_on_other_images_or_in_another_precision_are_not_averaged(tmp_path, name, first, second):
    for seed in (0, 1):
        leave(tmp_path / "a" / str(seed), seed, **{name: first})
    leave(tmp_path / "b" / "other", 0, method="mixup", **{name: second})
    leave(tmp_path / "b" / "old", 3)  # does not say
    leave(tmp_path / "c" / "2", 2, **{name: second})
    found = read_folders([tmp_path])
    assert sorted(zip(found.runs["method"], seeds(found), strict=True)) == [
        *(("cutmix", seed) for seed in (0, 1, 3)),
        ("mixup", 0),
    ]
    (sentence,) = found.problems
    assert "seed2" in sentence
    assert first in sentence
    assert second in sentence


def test_contradicting_records_do_not_count(tmp_path):
    leave(tmp_path / "a", 0)
    leave(tmp_path / "b", 0, error=11.0)
    leave(tmp_path / "c", 1)
    leave_corrupted(tmp_path / "a", {"fog": {"1": 20.0}})
    leave_corrupted(tmp_path / "b", {"fog": {"1": 21.0}})
    found = read_folders([tmp_path])
    assert (seeds(found), len(found.errors)) == ([1], 0)
    assert len(found.problems) == 2
    assert all("cifar100/m/cutmix/r-cutmix/seed0" in sentence for sentence in found.problems)


def test_an_evaluation_of_other_weights_or_on_other_images_does_not_count(tmp_path):
    leave(tmp_path, 0, data_fingerprint="here")
    leave_corrupted(tmp_path, {"fog": {"1": 20.0}}, weights_sha256="0123456789abcdef", data_fingerprint="here")
    assert len(read_folders([tmp_path]).errors) == 2
    (tmp_path / "best.pt").write_bytes(b"newer weights")
    found = read_folders([tmp_path])
    assert found.errors.empty
    assert "best.pt" in found.problems[0]
    os.utime(tmp_path / "best.pt", (0, 0))  # older than the record: not read
    assert len(read_folders([tmp_path]).errors) == 2
    leave_corrupted(tmp_path, {"fog": {"1": 20.0}}, data_fingerprint="elsewhere")
    found = read_folders([tmp_path])
    assert found.errors.empty
    assert "elsewhere" in found.problems[0]


def test_run_directories_without_a_record_are_listed_with_the_reason(tmp_path):
    for name, files in (("a", {"metrics.jsonl": "{}\n{}\n"}), ("b", {"failed.txt": "out of memory\n"})):
        (tmp_path / name).mkdir()
        for file, text in ({"config.yaml": ""} | files).items():
            (tmp_path / name / file).write_text(text)
    found = read_folders([tmp_path])
    assert "2 epochs" in found.unfinished[tmp_path / "a"]
    assert "out of memory" in found.unfinished[tmp_path / "b"]
