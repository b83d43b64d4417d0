"""AutoAugment and AugMix as a user types them."""

import json

import pytest

from tests.commands import here
from tests.mistakes import one_line


@pytest.fixture
def train(tmp_path, class_folder):
    """Train on four images of two classes, two more to test on."""
    root = class_folder(("ant", "bee"), train=2, val=1)
    place = [f"dataset.root={root}", "dataset.num_classes=null", f"output={tmp_path / 'outputs'}", "device=cpu"]
    return lambda *arguments: here("train.py", *arguments, *place)


@pytest.mark.slow
@pytest.mark.parametrize("row", ["autoaugment", "augmix"])
def test_two_steps_of_the_row_with_its_network(tmp_path, train, row):
    short = ["recipe.batch_size=2", "recipe.epochs=1", "recipe.decay_epochs=[]", "recipe.lr=0.001"]
    done = train(f"experiment=imagenet/{row}", *short, "dataset.workers=1")
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "outputs").rglob("summary.json")
    record = json.loads(path.read_text())
    assert path.parents[2].relative_to(tmp_path / "outputs").as_posix() == f"imagenet/resnet50/{row}"
    assert record["method"] == row
    assert record["parameters"] == 25_557_032 - 998 * 2049
    assert record["images"] == {"train": 4, "test": 2}
    assert 0 < record["last"]["train_loss"] < 10


def test_three_views_with_a_mixing_strategy_get_one_sentence(tmp_path, train):
    done = train("dataset=imagenet", "dataset.augment=augmix", "mixing=cutmix", "dataset.workers=0")
    assert done.returncode == 2
    one_line(done.stderr[:-1], "CutMix", "3 views", "mixing=identity")
    assert not (tmp_path / "outputs").exists()
