"""Who imports whom, and how much of the repository a training runs."""

import ast

from tests.commands import ROOT, python

# prints the files of which a function was called before the first optimiser step
COUNT = """
import inspect, os, runpy, sys
import torch

files = set()

def note(frame, event, argument):
    if event == "call" and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        files.add(frame.f_code.co_filename)

def step(self):
    sys.setprofile(None)
    names = {os.path.relpath(file) for file in files if os.path.exists(file)}
    print(*sorted(name for name in names if not name.startswith(".")), sep="\\n", flush=True)
    os._exit(0)

torch.optim.SGD.step = step
sys.path.insert(0, "")
sys.setprofile(note)
runpy.run_path("train.py", run_name="__main__")
"""


def imported(path):
    """Return the top-level names of all that a file imports, within functions too."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in names}


def test_the_package_reaches_networks_and_data_sets_through_their_targets():
    paths = list((ROOT / "smoothmix").rglob("*.py"))
    assert len(paths) > 50
    assert not [path for path in paths if imported(path) & {"models", "datasets", "scripts", "tests"}]


def test_hydra_is_imported_by_the_configuration_alone():
    paths = [*ROOT.glob("*.py"), *(ROOT / "smoothmix").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
    found = {path.parent.name for path in paths if imported(path) & {"hydra", "omegaconf"}}
    assert found == {"config"}


def test_a_training_runs_few_files_before_its_first_step(tmp_path):
    done = python("-c", COUNT, f"output={tmp_path}")
    files = [line for line in done.stdout.splitlines() if line.endswith(".py")]
    assert "smoothmix/training/trainer.py" in files, done.stderr
    assert len(files) <= 30, files
