"""A part of the test set: which images, and the same ones from every reader."""

import numpy as np
import pytest
import torch

from datasets.corrupted import CorruptedArrays
from datasets.in_memory import InMemoryData
from datasets.sampling import TestSubset
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError

N, CLASSES = 60, 4


@pytest.fixture
def data():
    """60 test images of 4 classes, each image one grey level: its number."""
    images = np.arange(N, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2).repeat(3, 3)
    labels = np.arange(N) % CLASSES
    return InMemoryData((images, labels), (images, labels), "abcd", (0.0,) * 3, (1.0,) * 3)


def test_stratified_fixed_and_ascending(data):
    subset = TestSubset(data, 20)
    assert torch.bincount(data.fine_test_labels[subset.index]).tolist() == [5] * 4
    assert subset.index.tolist() == sorted(set(subset.index.tolist()))
    assert torch.equal(subset.index, TestSubset(data, 20).index)


@pytest.mark.parametrize("world_size", [1, 3])
def test_every_reader_yields_these_images(data, world_size, tmp_path):
    subset = TestSubset(data, 22)
    images, labels = data.arrays("test")
    np.save(tmp_path / "labels.npy", np.tile(labels.numpy(), 5))
    np.save(tmp_path / "fog.npy", np.concatenate([images.numpy() + 60 * s for s in range(3)] + [images.numpy()] * 2))
    clean, foggy = [], []
    for rank in range(world_size):
        ranks = Ranks(torch.device("cpu"), rank, world_size)
        files = CorruptedArrays(tmp_path, labels, 4, ranks, subset=subset)
        for batch in subset.eval_batches("test", 6, ranks):
            clean += [(round(255 * x[0, 0, 0].item()), y) for x, y in zip(*batch, strict=True)]
        for batch in files.batches("fog", 3, 5):
            foggy += [(x[0, 0, 0].item() - 120, y) for x, y in zip(*batch, strict=True)]
    expected = [(i, i % CLASSES) for i in subset.index.tolist()]
    assert sorted((x, int(y)) for x, y in clean) == expected
    assert sorted((x, int(y)) for x, y in foggy) == expected


def test_no_image(data):
    with pytest.raises(UserError, match="images=0 evaluates nothing"):
        TestSubset(data, 0)


@pytest.mark.parametrize("count", [-1, N])
def test_out_of_range(data, count):
    with pytest.raises(UserError, match=f"images={count} is out of range: choose 0 to 59 of the 60 images"):
        TestSubset(data, count)
