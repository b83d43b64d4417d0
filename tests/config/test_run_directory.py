import copy
import json
import os

import pytest

from smoothmix.config import run_directory as run_dir
from smoothmix.utils.errors import UserError

CONFIG = {
    "method": "cutmix",
    "seed": 3,
    "output": "outputs",
    "device": "auto",
    "precision": "fp32",
    "log_every": 50,
    "checkpoint_every": 0,
    "recipe": {"name": "cifar", "epochs": 300, "lr": 0.25},
    "dataset": {"name": "cifar100", "_target_": "datasets.cifar100", "root": "data", "verify": True, "val_split": 0},
    "model": {"name": "pyramidnet200", "depth": 200},
    "mixing": {"name": "cutmix", "p": 0.5},
}


def changed(path, value):
    config = copy.deepcopy(CONFIG)
    *groups, key = path.split(".")
    node = config
    for group in groups:
        node = node[group]
    node[key] = value
    return config


def test_the_folders_name_data_set_model_method_recipe_and_seed():
    *head, recipe, seed = run_dir.run_directory(CONFIG).parts
    assert head == ["outputs", "cifar100", "pyramidnet200", "cutmix"]
    assert recipe == f"cifar-{run_dir.config_hash(CONFIG)}"
    assert seed == "seed3"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("recipe.epochs", 30),
        ("mixing.p", 1.0),
        ("precision", "bf16"),
        ("dataset.val_split", 5000),
        ("dataset.decode", "fast"),
        ("dataset.num_classes", None),
    ],
)
def test_what_changes_the_result_changes_the_folder(path, value):
    assert run_dir.run_directory(changed(path, value)) != run_dir.run_directory(CONFIG)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("dataset.root", "/scratch"),
        ("dataset.verify", False),
        ("dataset.workers", 9),
        ("dataset.decode", "exact"),
        ("device", "cpu"),
        ("log_every", 1),
        ("checkpoint_every", 100),
    ],
)
def test_what_does_not_change_the_result_does_not(path, value):
    assert run_dir.run_directory(changed(path, value)) == run_dir.run_directory(CONFIG)


def test_seeds_of_one_setting_are_neighbours():
    assert run_dir.run_directory(changed("seed", 4)).parent == run_dir.run_directory(CONFIG).parent


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a\\b"])
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(UserError, match="cannot name a folder"):
        run_dir.run_directory(changed("model.name", name))


def test_the_configuration_is_stored_and_compared(tmp_path):
    run_dir.claim(tmp_path, CONFIG).close()
    assert run_dir.read(tmp_path / "config.yaml") == CONFIG
    run_dir.claim(tmp_path, changed("dataset.root", "/elsewhere")).close()
    assert run_dir.read(tmp_path / "config.yaml")["dataset"]["root"] == "/elsewhere"

    other = changed("recipe.lr", 0.1)
    other["mixing"]["p"] = 1.0
    with pytest.raises(UserError, match=r"another configuration: mixing\.p, recipe\.lr differ"):
        run_dir.claim(tmp_path, other)
    assert run_dir.read(tmp_path / "config.yaml")["recipe"]["lr"] == 0.25


@pytest.mark.parametrize(
    "text", ["", "a: [", "just words", "!!python/object/apply:os.system ['touch canary']", "dataset: 3"]
)
def test_a_stored_file_that_is_no_configuration_is_refused(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml"):
        run_dir.claim(tmp_path, CONFIG)
    assert sorted(os.listdir(tmp_path)) == [".lock", "config.yaml"]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another output="):
        run_dir.claim(tmp_path / "file" / "run", CONFIG)


def test_the_hash_does_not_depend_on_the_order_of_keys():
    shuffled = json.loads(json.dumps(CONFIG, sort_keys=True))
    assert run_dir.config_hash(shuffled) == run_dir.config_hash(CONFIG)


def test_a_folder_is_one_living_process_s(tmp_path):
    lock = run_dir.claim(tmp_path, CONFIG)
    with pytest.raises(UserError, match=f"is in use by process {os.getpid()} on "):
        run_dir.claim(tmp_path, CONFIG)
    lock.close()  # as the system does when the holder dies
    run_dir.claim(tmp_path, CONFIG).close()


def test_finished_means_the_same_images(tmp_path):
    assert not run_dir.is_finished(tmp_path, "abc")
    (tmp_path / "summary.json").write_text('{"data_fingerprint": "abc"}')
    assert run_dir.is_finished(tmp_path, "abc")
    with pytest.raises(UserError, match="finished run on other images"):
        run_dir.is_finished(tmp_path, "xyz")
    for text in ("", "[]", "3", "{}"):
        (tmp_path / "summary.json").write_text(text)
        with pytest.raises(UserError, match="cannot read"):
            run_dir.is_finished(tmp_path, "abc")
    with pytest.raises(UserError, match="choose another output="):
        run_dir.is_finished(tmp_path / ("x" * 300), "abc")
