"""Walks over folders as users, network storage and other tools leave them."""

import os

import pytest

from smoothmix.utils.walk import find_files, subfolders, walk_files
from tests.mistakes import refused

SKIPPED = [".ipynb_checkpoints", ".snapshot", "@eaDir", "#recycle", "__MACOSX", "lost+found"]


@pytest.fixture
def tree(tmp_path):
    """a/1.txt, a/deep/2.txt, b/3.txt; beside each a copy in every folder that is nobody's own, and a hidden file."""
    for path in ("a/1.txt", "a/deep/2.txt", "b/3.txt"):
        file = tmp_path / "tree" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        for copy in (file, file.with_name(f".{file.name}"), *(file.parent / name / file.name for name in SKIPPED)):
            copy.parent.mkdir(exist_ok=True)
            copy.write_text("x")
    return tmp_path / "tree"


def names(tree):
    return [os.path.relpath(path, tree) for path in walk_files(tree)]


def test_hidden_and_tool_folders_are_skipped_at_every_level(tree):
    assert names(tree) == ["a/1.txt", "a/deep/2.txt", "b/3.txt"]
    assert subfolders(tree) == ["a", "b"]
    assert find_files(tree, "[23].txt") == [tree / "a/deep/2.txt", tree / "b/3.txt"]


def test_links_are_followed_and_enter_no_folder_twice(tree, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "4.txt").write_text("x")
    for name, target in [("own", "."), ("parent", ".."), ("again", "deep"), ("further", tmp_path / "elsewhere")]:
        (tree / "a" / name).symlink_to(target)
    (tree / "a" / "deep" / "further").symlink_to(tmp_path / "elsewhere")
    (tree / "a" / "5.txt").symlink_to("1.txt")
    (tree / "a" / "loop").symlink_to("loop")
    assert names(tree / "a") == ["1.txt", "5.txt", "loop", "deep/2.txt", "further/4.txt"]


def test_a_folder_that_cannot_be_read_is_reported(tree, monkeypatch):
    scandir = os.scandir

    def refuse(folder):
        if os.path.basename(folder) == "deep":
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)  # the superuser may read everything
    with refused(tree / "a" / "deep", "Permission denied"):
        names(tree)
    problems = []
    assert [os.path.relpath(path, tree) for path in walk_files(tree, problems)] == ["a/1.txt", "b/3.txt"]
    assert len(problems) == 1
    for walk in (walk_files, subfolders):
        with refused(tree / "nowhere"):
            list(walk(tree / "nowhere"))
