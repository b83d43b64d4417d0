"""What answering --help imports: nothing that is slow and not needed."""

import json
import subprocess
import sys
from pathlib import Path

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
    scripts = ["train.py", "eval.py", "eval_corruption.py", "scripts/reproduce.py", "scripts/benchmark.py"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *scripts], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("import smoothmix") == ["smoothmix"]
    assert found.keys() == set(scripts)
    for script, modules in found.items():
        assert not set(SLOW) & set(modules), (script, set(SLOW) & set(modules))
