import json
import os
from pathlib import Path

import pytest

from smoothmix.config import run_directory as run_dir
from smoothmix.config.command_line import compose
from smoothmix.config.schema import check
from tests.mistakes import refused
from tests.reporting import made

HERE = Path(__file__).parent
CONFIG = check(compose("train", ["experiment=cifar100/cutmix", "seed=3"]))


def changed(override):
    return check(compose("train", ["experiment=cifar100/cutmix", "seed=3", override]))


@pytest.mark.parametrize(
    "override",
    [
        *["recipe.epochs=30", "mixing.p=1.0", "precision=bf16", "dataset.val_split=5000", "dataset.labels=coarse"],
        *["dataset.per_class=50", "evaluate_every=2", "+model.shake_drop=0.5", "method=mine"],
    ],
)
def test_what_changes_the_result_changes_the_folder(override):
    assert run_dir.run_directory(changed(override)) != run_dir.run_directory(CONFIG)


@pytest.mark.parametrize(
    "override",
    [
        *["dataset.root=/scratch", "dataset.workers=9", "dataset.labels=fine", "device=cpu"],
        *["log_every=1", "checkpoint_every=100", "step=eager", "timeout=5", "mixing.p=0.50"],
    ],
)
def test_what_does_not_change_the_result_does_not(override):
    assert run_dir.run_directory(changed(override)) == run_dir.run_directory(CONFIG)


def test_no_run_directory_ever_moves():
    """hashes.json: the directories of 63 command lines, as they were before the configuration was typed."""
    for overrides, directory in json.loads((HERE / "hashes.json").read_text()).items():
        config = check(compose("train", overrides.split()))
        assert str(run_dir.run_directory(config)) == directory
        assert check(config.to_dict()) == config


def test_seeds_of_one_setting_are_neighbours():
    assert run_dir.run_directory(changed("seed=4")).parent == run_dir.run_directory(CONFIG).parent


@pytest.mark.parametrize("name", ["''", "..", "a/b", ".hidden", "a\\b"])
def test_a_name_that_is_no_folder_is_refused(name):
    with refused("folder"):
        run_dir.run_directory(changed(f"model.name={name}"))


def test_the_configuration_is_stored_and_compared(tmp_path):
    run_dir.lock(tmp_path, CONFIG).close()
    assert check(run_dir.read(tmp_path / "config.yaml")) == CONFIG
    run_dir.lock(tmp_path, changed("dataset.root=/elsewhere")).close()
    assert run_dir.read(tmp_path / "config.yaml")["dataset"]["root"] == "/elsewhere"

    other = check(compose("train", ["experiment=cifar100/cutmix", "recipe.lr=0.1", "mixing.p=1.0", "seed=3"]))
    with refused(tmp_path, "mixing.p, recipe.lr"):
        run_dir.lock(tmp_path, other)
    assert run_dir.read(tmp_path / "config.yaml")["recipe"]["lr"] == 0.25


@pytest.mark.parametrize(
    "text", ["", "a: [", "just words", "!!python/object/apply:os.system ['touch canary']", "dataset: 3"]
)
def test_a_stored_file_that_is_no_configuration_is_refused(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with refused(tmp_path / "config.yaml"):
        run_dir.lock(tmp_path, CONFIG)
    assert sorted(os.listdir(tmp_path)) == [".lock", "config.yaml"]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with refused(tmp_path / "file", "output="):
        run_dir.lock(tmp_path / "file" / "run", CONFIG)


def test_a_folder_is_one_living_process_s(tmp_path):
    lock = run_dir.lock(tmp_path, CONFIG)
    with refused(tmp_path, os.getpid()):
        run_dir.lock(tmp_path, CONFIG)
    lock.close()  # as the system does when the holder dies
    run_dir.lock(tmp_path, CONFIG).close()


def test_finished_means_a_whole_record_of_the_same_images(tmp_path):
    path = tmp_path / "summary.json"
    assert not run_dir.is_finished(tmp_path, "abc")
    made.run(data_fingerprint="abc").write(path)
    assert run_dir.is_finished(tmp_path, "abc")
    with refused(tmp_path, "abc", "xyz"):
        run_dir.is_finished(tmp_path, "xyz")
    path.write_text('{"data_fingerprint": "abc"}')
    with refused(path):
        run_dir.is_finished(tmp_path, "abc")
    assert not run_dir.is_finished(tmp_path / ("x" * 300), "abc")
