"""What answering --help imports: nothing that is slow and not needed."""

import json
import subprocess
import sys
from pathlib import Path

from scripts.benchmarks.start_up import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
SLOW = ("cv2", "matplotlib", "pandas", "scipy", "sklearn", "tensorboard", "timm", "torchvision")
SCRIPT = """
import contextlib, io, json, runpy, sys

import torch

before = set(sys.modules)
import smoothmix

found = {"import smoothmix": sorted({name.split(".")[0] for name in set(sys.modules) - before})}
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
    assert len(said.getvalue()) > 100, script
    assert "Hydra" not in said.getvalue(), script
    found[script] = sorted({name.split(".")[0] for name in sys.modules})
print(json.dumps(found))
"""


def test_help_imports_nothing_slow():
    scripts = [overrides[0] for overrides in COMMANDS.values() if overrides[0] != "-c"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *scripts, "scripts/benchmark.py"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("import smoothmix") == ["smoothmix"]
    assert len(found) == 6
    for script, modules in found.items():
        assert not set(SLOW) & set(modules), (script, set(SLOW) & set(modules))
