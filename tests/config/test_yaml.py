"""YAML with object tags, wherever YAML is read: nothing is made of them."""

import os

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from smoothmix.config import command_line
from smoothmix.config import run_directory as run_dir
from smoothmix.config.command_line import CONFIGS, sentence
from smoothmix.config.schema import check
from tests.mistakes import one_line, refused

TAGS = [
    "!!python/object/apply:os.mkdir [canary]",
    "!!python/object/new:os.mkdir [canary]",
    "!!python/object/apply:subprocess.check_call [[touch, canary]]",
    '!!python/object/apply:builtins.eval [\'open("canary", "w")\']',
    "!!python/name:os.mkdir",
    "!!python/module:os",
    "!!python/object:smoothmix.utils.errors.UserError {}",
    "!!python/tuple [1, 2]",
    "!mine {a: 1}",
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Run in an empty folder, in which no canary may appear."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not os.path.exists("canary")


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("place", ["{}", "dataset: {}", "dataset: {{name: {}}}", "{{{}: 1}}"])
def test_in_the_configuration_of_a_run_directory(here, tag, place):
    (here / "config.yaml").write_text(place.format(tag))
    with refused(here / "config.yaml", "YAML"):
        run_dir.read(here / "config.yaml")


@pytest.mark.parametrize("tag", TAGS)
def test_in_a_file_that_hydra_composes(here, tag):
    (here / "conf").mkdir()
    (here / "conf" / "train.yaml").write_text(f"seed: {tag}\n")
    with initialize_config_dir(str(here / "conf"), version_base="1.3"), pytest.raises(Exception, match=r"tag") as error:
        compose("train")
    one_line(sentence(error.value))


@pytest.mark.parametrize("tag", TAGS)
def test_on_the_command_line(tag):
    """There it is text, or no value at all."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for word in (f"method='{tag.replace(chr(39), '')}'", f"method={tag}"):
            try:
                method = compose("train", [word]).method
            except HydraException:  # its grammar, which the command makes a sentence
                continue
            assert isinstance(method, str)


def test_a_yaml_file_of_aliases_that_double_is_not_written_out(here):
    """Thirty lists of two references to the one before: 2^30 values, if anyone counted them."""
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 30)), "dataset: {name: x}"]
    (here / "config.yaml").write_text("\n".join(lines))
    with refused(here):
        run_dir.lock(here, check(command_line.compose("train")))
