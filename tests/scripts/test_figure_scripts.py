"""make_figures.py, occlusion.py and audit_paper.py as a user types them, on a network trained for a moment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from smoothmix.corruptions import CORRUPTIONS

ROOT = Path(__file__).parents[2]


def python(*arguments):
    command = [sys.executable, *map(str, arguments)]
    settings = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=300)


def refused(*arguments):
    done = python(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    quick = ["recipe.epochs=1", "recipe.decay_epochs=[]", "model.alpha=3", "mixing=cutmix,identity", f"output={folder}"]
    done = python("train.py", "-m", *quick)
    assert done.returncode == 0, done.stderr
    return folder, sorted(path.parent for path in folder.rglob("best.pt"))


def test_every_figure_is_written(runs, tmp_path):
    folder, directories = runs
    errors = {name: dict.fromkeys(range(1, 6), 50.0) for name in CORRUPTIONS}
    setting = {"benchmark": "digits_c", "model": "m", "recipe": "r", "epochs": 1, "source": "files (a/b)"}
    record = {**setting, "weights": "best", "method": "cutmix", "seed": 0, "top1_errors": errors}
    (directories[0] / "best.digits_c-files.json").write_text(json.dumps(record))
    done = python("scripts/make_figures.py", folder, "--models", *directories, "--images", 1, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    corrupted = "digits_c-m-r-1-files_(a_b)-best"
    stems = {"figure1", "figure2", "figure3", "curves-digits-pyramidnet8-demo-1-test"}
    stems |= {f"corruptions-{corrupted}", f"severities-{corrupted}"}
    assert {path.name for path in tmp_path.iterdir()} == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")}
    assert done.stdout.splitlines() != []
    assert all(Path(line).stat().st_size > 1_000 for line in done.stdout.splitlines())


def test_figure_1_is_the_committed_one(tmp_path):
    python("scripts/make_figures.py", "--output", tmp_path)
    for name in ("figure1.svg", "figure3.svg"):
        made, committed = (folder.joinpath(name).read_text() for folder in (tmp_path, ROOT / "results" / "figures"))
        assert made.count("<image") == committed.count("<image") > 0
        assert abs(len(made) - len(committed)) < 0.1 * len(committed)  # other versions draw other bytes


def test_occlusion_is_measured_on_the_same_images_for_every_network(runs, tmp_path):
    _, directories = runs
    done = python("scripts/occlusion.py", *directories, "--images", 30, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".svg", ".png"}
    assert (tmp_path / "occlusion.md").read_text() == done.stdout
    record = json.loads((tmp_path / "occlusion.json").read_text())
    assert (record["images"], record["dataset"], record["box_side"]) == (30, "digits", 16)
    assert [model["method"] for model in record["models"]] == ["cutmix", "identity"]
    again = python("scripts/occlusion.py", directories[1], "--images", 30, "--batch-size", 7, "--output", tmp_path)
    assert again.stdout.splitlines()[2:] == done.stdout.splitlines()[5:]


def test_mistakes_are_one_sentence(runs, tmp_path):
    folder, directories = runs
    assert "there is no folder" in refused("scripts/make_figures.py", tmp_path / "none", "--output", tmp_path)
    (tmp_path / "empty").mkdir()
    assert "no finished run" in refused("scripts/make_figures.py", tmp_path / "empty", "--output", tmp_path)
    assert "--images must be at least 2" in refused("scripts/occlusion.py", directories[0], "--images", 1)
    assert "from 1 to 360" in refused("scripts/occlusion.py", directories[0], "--images", 361)
    assert "best.pt" in refused("scripts/occlusion.py", folder)


def test_the_audit_is_printed_or_written(tmp_path):
    printed = python("scripts/audit_paper.py")
    assert python("scripts/audit_paper.py", "--output", tmp_path / "audit.md").stdout == ""
    assert printed.stdout == (tmp_path / "audit.md").read_text()
    assert "cannot write" in refused("scripts/audit_paper.py", "--output", tmp_path / "none" / "audit.md")
