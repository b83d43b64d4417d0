"""The committed pages are those that `make results` makes of the committed data."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_make_results_changes_nothing(tmp_path):
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^results:.*\n((?:\t.*\n)+)", makefile, re.M)[1]
    commands = [line.strip().removeprefix("$(BIN)/python ").split() for line in recipe.splitlines()]
    clone = tmp_path / "clone"
    skipped = shutil.ignore_patterns(".git", ".venv", "outputs", "data", ".*_cache", "__pycache__", ".hypothesis")
    shutil.copytree(ROOT, clone, ignore=skipped)
    before = {path: path.read_bytes() for path in (clone / "results").rglob("*") if path.is_file()}
    for command in commands:
        done = subprocess.run([sys.executable, *command], cwd=clone, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    after = {path: path.read_bytes() for path in (clone / "results").rglob("*") if path.is_file()}
    ignored = {path for path in after if "__pycache__" in path.parts}
    changed = {path for path in after.keys() - ignored if after[path] != before.get(path)}
    assert {path.relative_to(clone) for path in changed} == set()
