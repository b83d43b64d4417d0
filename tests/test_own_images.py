"""From a folder of photographs to a network that classifies one, as docs/own-images.md has it."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import smoothmix
from models import timm_model
from tests.commands import here
from tests.mistakes import refused

ROOT = Path(__file__).parents[1]
COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("files") / "photos", np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(6):
            pixels = np.clip(colour + draw.normal(0, 30, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The weights of a network with other classes."""
    path = tmp_path_factory.mktemp("weights") / "other.pt"
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet", num_classes=7).state_dict(), path)
    return path


def test_the_page_from_folder_to_class(photos, weights, tmp_path):
    page = (ROOT / "docs" / "own-images.md").read_text()
    train, export = (
        shlex.split(line, comments=True)[1:] for line in re.search(r"```sh\n(.*?)```", page, re.S)[1].splitlines()
    )
    words = [word.replace("=photos", f"={photos}") for word in train]
    words += [f"output={tmp_path}", f"+model.weights={weights}", "model.name=test_resnet", "dataset.image_size=32"]
    words += ["dataset.workers=0", "dataset.val_split=6"]
    done = here(*words)
    assert done.returncode == 0, done.stderr
    assert "epoch 60/60" in done.stdout
    (run,) = (path.parent for path in tmp_path.glob("photos/test_resnet/smoothmix_c/finetune-*/seed0/summary.json"))
    assert f"run directory: {run}" in done.stdout
    done = here(*(word.replace("RUN_DIR", str(run)) for word in export))
    assert done.returncode == 0, done.stderr
    network = smoothmix.load_pretrained(run / "best-export")
    found = network.predict(photos / "red" / "0.png")
    assert max(found, key=found.get) == "red"


def test_weights_of_a_file_but_not_their_head(weights):
    stored = torch.load(weights)
    network = timm_model("test_resnet", num_classes=3, pretrained=True, weights=str(weights))
    own = network.state_dict()
    assert own["fc.weight"].shape == (3, stored["fc.weight"].shape[1])
    assert all(torch.equal(own[name], stored[name]) for name in stored if not name.startswith("fc."))
    same = timm_model("test_resnet", num_classes=7, weights=str(weights)).state_dict()
    assert torch.equal(same["fc.weight"], stored["fc.weight"])
    for name, words in (("resnet10t", ["architecture"]), ("test_resnet", [])):
        path = weights if name == "resnet10t" else weights.with_name("gone.pt")
        with refused(path, *words):
            timm_model(name, num_classes=3, weights=str(path))
