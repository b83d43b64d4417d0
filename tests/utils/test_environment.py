"""What a record says of where it was made."""

import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from smoothmix.utils import environment

CPU = torch.device("cpu")
GIT = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]


@pytest.fixture
def module_in(monkeypatch):
    """Return a function that lets the module believe that it lies in a folder."""

    def move(folder):
        monkeypatch.setattr(environment, "__file__", str(folder / "environment.py"))
        environment._git_commit.cache_clear()

    yield move
    environment._git_commit.cache_clear()


@pytest.fixture
def repository(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "a").write_text("1")
    subprocess.run(["git", "add", "a"], cwd=tmp_path, check=True)
    subprocess.run([*GIT, "commit", "-qm", "first"], cwd=tmp_path, check=True)
    return tmp_path


def head(repository):
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_start_however_often_it_is_asked_for(repository, module_in):
    module_in(repository)
    first = head(repository)
    assert environment.environment(CPU)["git_commit"] == first
    (repository / "a").write_text("2")
    subprocess.run([*GIT, "commit", "-qam", "second"], cwd=repository, check=True)
    assert head(repository) != first
    assert environment.environment(CPU)["git_commit"] == first
    assert "git_note" not in environment.environment(CPU)


def test_changed_files_are_marked(repository, module_in):
    (repository / "a").write_text("2")
    module_in(repository)
    assert environment.environment(CPU)["git_commit"] == head(repository) + "-dirty"


def test_no_git_is_a_note(module_in, tmp_path, monkeypatch):
    module_in(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = environment.environment(CPU)
    assert (found["git_commit"], "PATH" in found["git_note"]) == (None, True)


def test_no_repository_is_a_note(module_in, tmp_path):
    module_in(tmp_path)
    found = environment.environment(CPU)
    assert (found["git_commit"], "not a git repository" in found["git_note"]) == (None, True)


def test_another_user_s_repository_is_a_note(module_in, repository, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for its tests
    module_in(repository)
    found = environment.environment(CPU)
    assert (found["git_commit"], "dubious ownership" in found["git_note"]) == (None, True)


def test_a_start_has_its_time_and_position():
    found = environment.start(CPU, epoch=3, step=7)
    assert (found["epoch"], found["step"]) == (3, 7)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(found["time"])).total_seconds()) < 60
    assert environment.environment_of(found) == environment.environment(CPU)
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]


def test_the_command_can_be_pasted(monkeypatch):
    """A shell hands back the arguments, quotes, spaces and lists included, and finds the script from the root."""
    words = ["corruptions=[fog, snow]", "output=it's here/$HOME", "~mixing", "dataset.root=/a b/(c)", "name='x'"]
    monkeypatch.setattr(sys, "argv", [str(environment.ROOT / "scripts" / "benchmark.py"), *words])
    command = environment.environment(CPU)["command"]
    assert shlex.split(command) == ["scripts/benchmark.py", *words]
    for shell in ("bash", "sh"):
        done = subprocess.run(
            [shell, "-c", f'printf "%s\\0" {command}'], capture_output=True, text=True, env=os.environ, check=True
        )
        assert done.stdout.split("\0")[1:-1] == words
    monkeypatch.chdir(Path(environment.ROOT))
    monkeypatch.setattr(sys, "argv", ["train.py", "seed=0"])
    assert environment.environment(CPU)["command"] == "train.py seed=0"
