"""Every command interrupted while it imports; some cut short by `head`, or in any locale."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts import hand_made

ROOT = Path(__file__).parents[2]


@pytest.fixture
def records(tmp_path, cells):
    for cell in cells("6")[:2]:
        hand_made.write(tmp_path / "runs" / "é", cell, device="Gerät ±")


CTRL_C = """
import runpy, signal, sys

module, script, *arguments = sys.argv[1:]

class Finder:
    def find_spec(self, name, path, target=None):
        if name == module:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.argv = [script, *arguments]
sys.path[0] = script.rpartition("/")[0]
runpy.run_path(script, run_name="__main__")
"""
ALL = [*sorted(set(ROOT.glob("*.py")) - {ROOT / "hubconf.py"}), *sorted((ROOT / "scripts").glob("*.py"))]


def interrupted(module, *command):
    """Return the exit status and what is said of a command that Ctrl-C meets as it imports `module`."""
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C, module, *map(str, command)], capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_ctrl_c_while_it_imports_torch(path):
    assert interrupted("torch", path) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize(("script", "module"), [("train.py", "datasets"), ("scripts/report.py", "pandas")])
def test_ctrl_c_while_it_imports_what_its_work_needs(script, module, tmp_path):
    status, said, complaint = interrupted(module, ROOT / script, *([f"output={tmp_path}"] * (script == "train.py")))
    assert (status, said) == (130, "")
    assert complaint.startswith("interrupted")
    assert complaint.count("\n") == 1


def test_a_locale_that_is_not_utf_8(tmp_path, records):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, ROOT / "scripts" / "report.py", "runs", "--output", "report"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | plain, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Gerät ±" in (tmp_path / "report" / "README.md").read_text(encoding="utf-8")
    assert "Gerät ±" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
