"""scripts/gpu.sh runs every part, whatever the others do, and says at the end which failed."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PYTHON = """#!/bin/sh
echo "$*" >>{log}
case "$*" in *device_count*) echo 2;; *test_gpu*) exit 3;; *summarize*) exit 1;; esac
"""


def test_every_part_runs_and_the_failed_ones_are_named(tmp_path):
    python, log = tmp_path / "python", tmp_path / "log"
    python.write_text(PYTHON.format(log=log))
    python.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(python)}
    done = subprocess.run(["sh", ROOT / "scripts/gpu.sh"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    lines = [line for line in done.stdout.splitlines() if line.startswith(("ok", "failed"))]
    summary = dict(reversed(line.split(maxsplit=1)) for line in lines)
    assert summary == {
        "tests (exit status 3)": "failed",
        "benchmarks": "ok",
        "data": "ok",
        "precision": "ok",
        "summary (exit status 1)": "failed",
        "ranks": "ok",
        "graph of two ranks": "ok",
    }
    assert "-m pytest -q tests/training/test_gpu.py" in log.read_text().splitlines()[0]
