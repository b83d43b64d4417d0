"""Data and networks that do not go together: one sentence each, through train.py's own function."""

import pytest
from PIL import Image

import train
from smoothmix.config.command_line import compose
from smoothmix.utils.command import explanation


@pytest.fixture
def refusal(tmp_path, monkeypatch):
    """Return a function that returns the sentence with which train.py refuses overrides; no run is left."""
    monkeypatch.setenv("WORLD_SIZE", "1")

    def make(*overrides):
        composed = compose("train", [*overrides, "device=cpu", f"output={tmp_path / 'out'}"])
        with pytest.raises(Exception, match=r".") as error:
            train.main(composed)
        sentence = explanation(error.value)
        assert sentence is not None, error.value
        assert not list(tmp_path.rglob("*.pt"))
        assert not list(tmp_path.rglob("summary.json"))
        assert sentence.isprintable()
        return sentence

    return make


@pytest.fixture
def folder(tmp_path):
    """Return the overrides for two classes of three images to train on and two to test on."""
    for split, count in (("train", 3), ("val", 2)):
        for name in ("ant", "bee"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (40, 30), (60 * i, 0, 0)).save(tmp_path / "data" / split / name / f"{i}.png")
    return [
        *["dataset=folder", "dataset.name=insects", f"dataset.root={tmp_path / 'data'}", "dataset.workers=0"],
        *["dataset.image_size=16", "dataset.resize=20", "recipe.epochs=1", "recipe.decay_epochs=[]"],
    ]


def test_a_last_batch_of_one_image_where_batchnorm_needs_two(refusal):
    """17 images in batches of 16, and a network that ends in maps of one pixel."""
    sentence = refusal(
        *["model=timm", "model.name=resnet18", "dataset.val_split=1420", "recipe.batch_size=16"],
        *["recipe.epochs=1", "recipe.decay_epochs=[]"],
    )
    assert "the last batch of an epoch has one image per rank" in sentence


def test_a_class_that_is_missing_in_val(refusal, folder, tmp_path):
    (tmp_path / "data" / "val" / "bee").rename(tmp_path / "data" / "bee")
    assert "differ: 'bee' (only in train)" in refusal(*folder)


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_image_of_no_bytes(refusal, folder, tmp_path, split):
    (tmp_path / "data" / split / "ant" / "1.png").write_bytes(b"")
    assert f"cannot read the image {tmp_path}/data/{split}/ant/1.png" in refusal(*folder)


def test_an_image_size_that_the_network_cannot_take(refusal, folder):
    assert "cannot take 16x16 images" in refusal(*folder, "model=timm", "model.name=vit_tiny_patch16_224")
