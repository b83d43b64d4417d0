"""make_figures.py, occlusion.py and audit_paper.py as a user types them, on a network trained for a moment."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from smoothmix.corruptions import CORRUPTIONS
from smoothmix.mixing.masks import square_mask
from smoothmix.reporting import mask_figures
from smoothmix.utils.files import weights_digest
from tests.commands import ROOT, here, said


def script(name, *arguments):
    return said(f"scripts/{name}", *arguments)


def refused(*arguments):
    status, _, printed = script(*arguments)
    assert status == 2
    (line,) = printed.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    quick = ["recipe.epochs=1", "recipe.decay_epochs=[]", "model.alpha=3", "mixing=cutmix,identity", f"output={folder}"]
    done = here("train.py", "-m", *quick, "dataset.val_split=1200")
    assert done.returncode == 0, done.stderr
    return folder, sorted(path.parent for path in folder.rglob("best.pt"))


def test_every_figure_is_written(runs, tmp_path):
    folder, directories = runs
    errors = {name: dict.fromkeys(range(1, 6), 50.0) for name in CORRUPTIONS}
    setting = {"benchmark": "digits_c", "model": "m", "recipe": "r", "epochs": 1, "source": "files (a/b)"}
    of_run = {"dataset": "digits", "method": "cutmix", "config_hash": "1234abcd", "seed": 0, "clean_top1_error": 5.0}
    digest = weights_digest(directories[0] / "best.pt")
    record = {**setting, **of_run, "weights": "best", "weights_sha256": digest, "top1_errors": errors}
    (directories[0] / "best.digits_c-files.json").write_text(json.dumps(record))
    models = ["--models", *directories, "--images", 1]
    status, printed, _ = script("make_figures.py", folder, *models, "--output", tmp_path)
    assert status == 0
    corrupted = "digits_c-files_a_b_-digits-m-r-1-best"
    stems = {"figure1", "figure2", "figure3", "curves-digits-pyramidnet8-demo-1-val"}
    stems |= {f"corruptions-{corrupted}", f"severities-{corrupted}"}
    assert {path.name for path in tmp_path.iterdir()} == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")}
    assert {Path(line) for line in printed.splitlines()} == set(tmp_path.iterdir())
    assert all(path.stat().st_size > 1_000 for path in tmp_path.iterdir())


def difference(a, b):
    """Return the largest difference, 0 to 1, of two drawings, each pixel taken with its neighbours.

    Another version of matplotlib or of its fonts may move an edge or a letter by a pixel or so.
    """
    if a.size != b.size:
        return 1.0
    blurred = (np.asarray(image.convert("RGB").filter(ImageFilter.BoxBlur(6)), dtype=float) for image in (a, b))
    return float(abs(np.subtract(*blurred)).max()) / 255


def test_figures_1_and_3_are_the_committed_ones(tmp_path, monkeypatch):
    def differences(moved=0):
        script("make_figures.py", "--output", tmp_path)
        for name in ("figure1.png", "figure3.png"):
            made, committed = (Image.open(folder / name) for folder in (tmp_path, ROOT / "results" / "figures"))
            shown = Image.new("RGB", made.size, "white")
            shown.paste(made, (moved, 0))
            yield difference(shown, committed)

    assert max(differences()) < 0.15
    assert max(differences(moved=1)) < 0.15  # not seen
    monkeypatch.setattr(mask_figures, "square_mask", lambda size, place, sigma, k: square_mask(size, place, sigma, 0.4))
    assert min(differences()) > 0.2  # a softer border is


def test_occlusion_is_measured_on_the_same_images_for_every_network(runs, tmp_path):
    _, directories = runs
    status, printed, _ = script("occlusion.py", *directories, "--images", 30, "--output", tmp_path)
    assert status == 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".svg", ".png"}
    assert (tmp_path / "occlusion.md").read_text() == printed
    record = json.loads((tmp_path / "occlusion.json").read_text())
    assert (record["images"], record["dataset"], record["box_side"]) == (30, "digits", 16)
    assert [model["method"] for model in record["models"]] == ["cutmix", "identity"]
    options = ["--images", 30, "--batch-size", 7, "--output", tmp_path]
    _, again, _ = script("occlusion.py", directories[1], *options)
    assert again.splitlines()[2:] == printed.splitlines()[5:]


def test_mistakes_are_one_sentence(runs, tmp_path):
    folder, directories = runs
    assert "there is no folder" in refused("make_figures.py", tmp_path / "none", "--output", tmp_path)
    (tmp_path / "empty").mkdir()
    assert "no finished run" in refused("make_figures.py", tmp_path / "empty", "--output", tmp_path)
    assert "--images must be at least 2" in refused("occlusion.py", directories[0], "--images", 1)
    assert "from 1 to 360" in refused("occlusion.py", directories[0], "--images", 361)
    assert "best.pt" in refused("occlusion.py", folder)


def test_the_audit_is_printed_or_written(tmp_path):
    _, printed, _ = script("audit_paper.py")
    assert script("audit_paper.py", "--output", tmp_path / "audit.md") == (0, "", "")
    assert printed == (tmp_path / "audit.md").read_text()
    assert "cannot write" in refused("audit_paper.py", "--output", tmp_path / "none" / "audit.md")
