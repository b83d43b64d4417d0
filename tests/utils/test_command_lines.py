"""Overrides and commands with awkward characters, read by Hydra and by the shells themselves."""

import shlex
import shutil
import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from smoothmix.utils.command import override, shell_command

AWKWARD = [
    "outputs", "/data/images", "a b", "lr=0.1/seed0", "a,b", "[1,2]", "(1)", "{a: b}", "it's", '"', "über/é", "~/data",
    "*?", "#", "null", "True", "1", "1e5", "NaN", ".5", "-1", "a\\", "a\\'b", "${oc.env:HOME}", "$HOME", "!x", "", " ",
    "=x",
]  # fmt: skip


def read(argument):
    """What Hydra sets the key to."""
    value = OverridesParser.create().parse_override(argument).value()
    return OmegaConf.create({"key": value}).key


@pytest.mark.parametrize("text", AWKWARD)
def test_hydra_reads_the_text_as_it_is(text):
    assert read(override("key", text)) == text


@given(st.text(st.characters(exclude_categories=["C"], exclude_characters="\\$")))
def test_hydra_reads_any_text(text):
    assert read(override("key", text)) == text


def test_ordinary_names_and_paths_stay_as_they_are():
    assert override("output", "outputs") == "output=outputs"
    assert override("run", "outputs/digits/cutmix/demo-0a1b/seed0") == "run=outputs/digits/cutmix/demo-0a1b/seed0"


@pytest.mark.parametrize("shell", [shell for shell in (["bash"], ["zsh", "-f"]) if shutil.which(shell[0])])
def test_the_shells_read_the_arguments_as_they_are(shell):
    arguments = [override("key", text) for text in AWKWARD]
    line = shell_command(["printf", r"%s\n", *arguments])
    said = subprocess.run([*shell, "-c", line], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == arguments
    assert shlex.split(line)[2:] == arguments
