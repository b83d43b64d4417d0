"""AutoAugment and AugMix as a user types them."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.commands import here


@pytest.fixture
def photographs(tmp_path):
    """Four training and two test images of two classes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 2), ("val", 1)):
        for name in ("ant", "bee"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (240, 260, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "images"


def train(tmp_path, *arguments):
    return here("train.py", *arguments, f"output={tmp_path / 'outputs'}", "device=cpu")


@pytest.mark.slow
@pytest.mark.parametrize("row", ["autoaugment", "augmix"])
def test_two_steps_of_the_row_with_its_network(tmp_path, photographs, row):
    short = ["recipe.batch_size=2", "recipe.epochs=1", "recipe.decay_epochs=[]", "recipe.lr=0.001"]
    place = [f"dataset.root={photographs}", "dataset.num_classes=null", "dataset.workers=1"]
    done = train(tmp_path, f"experiment=imagenet/{row}", *short, *place)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "outputs").rglob("summary.json")
    record = json.loads(path.read_text())
    assert path.parents[2].relative_to(tmp_path / "outputs").as_posix() == f"imagenet/resnet50/{row}"
    assert record["method"] == row
    assert record["parameters"] == 25_557_032 - 998 * 2049
    assert record["images"] == {"train": 4, "test": 2}
    assert 0 < record["last"]["train_loss"] < 10


def test_three_views_with_a_mixing_strategy_get_one_sentence(tmp_path, photographs):
    place = [f"dataset.root={photographs}", "dataset.num_classes=null", "dataset.workers=0"]
    done = train(tmp_path, "dataset=imagenet", "dataset.augment=augmix", "mixing=cutmix", *place)
    assert done.returncode == 2
    sentence = "CutMix would change the 3 views of an image that AugMix compares"
    assert done.stderr == f"error: {sentence}; use mixing=identity with dataset.augment=augmix\n"
    done = train(tmp_path, "dataset=imagenet", "dataset.augment=augmxi", *place)
    assert done.stderr == "error: augment=augmxi is not one of none, autoaugment, augmix; did you mean augmix?\n"
    assert not (tmp_path / "outputs").exists()
