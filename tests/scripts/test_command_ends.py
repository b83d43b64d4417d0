"""reproduce, make_tables, make_report, summarize: interrupted while they import, cut short by `head`, in any locale."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "reproduce": ["table=6", "--status"],
    "make_tables": ["--table", "6", "--output", "tables"],
    "make_report": ["--output", "report.html"],
    "summarize": [],
}


def command(name, tmp_path):
    folder = [f"output={tmp_path / 'runs'}"] if name == "reproduce" else [str(tmp_path / "runs")]
    return [str(ROOT / "scripts" / f"{name}.py"), *folder, *COMMANDS[name]]


@pytest.fixture
def records(tmp_path, cells, hand_made):
    for cell in cells("6")[:2]:
        hand_made.write(tmp_path / "runs" / "é", cell, device="Gerät ±")


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_while_it_imports(name, tmp_path, records):
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *command(name, tmp_path)],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stderr:  # says what was imported
        if "| torch." in line.replace("  ", ""):
            break
    process.send_signal(signal.SIGINT)
    out, complaint = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    said = [line for line in complaint.splitlines() if not line.startswith("import time:")]
    assert (out, [line for line in said if line != "interrupted"]) == ("", [])


@pytest.mark.parametrize("name", ["reproduce", "summarize"])
def test_a_reader_that_leaves(name, tmp_path, records):
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as reader:
        reader.wait()
        done = subprocess.run(
            [sys.executable, *command(name, tmp_path)],
            cwd=tmp_path, stdout=reader.stdin, stderr=subprocess.PIPE, text=True, timeout=120,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_locale_that_is_not_utf_8(name, tmp_path, records):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, *command(name, tmp_path)],
        cwd=tmp_path, env=os.environ | plain, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    if name == "make_tables":
        assert "±" in (tmp_path / "tables" / "table6.md").read_text(encoding="utf-8")
    if name == "make_report":
        assert "Gerät ±" in (tmp_path / "report.html").read_text(encoding="utf-8")
