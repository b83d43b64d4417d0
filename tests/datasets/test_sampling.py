"""Which images are used, and in which order: held out, a part of the test set, the batches of each rank."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.corrupted import CorruptedArrays
from datasets.in_memory import InMemoryData
from datasets.sampling import TestSubset, epoch_order, eval_pieces, hold_out, rank_pieces, remaining, whole_batches
from smoothmix.utils.distributed import Ranks
from tests.mistakes import refused

N, CLASSES = 60, 4
SIZES = {"n": st.integers(0, 200), "world_size": st.integers(1, 6)}
EXAMPLES = settings(deadline=None, max_examples=60, derandomize=True)


def test_order_is_a_permutation_that_changes_with_seed_and_epoch():
    orders = [epoch_order(100, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert epoch_order(100, 0, 1) == orders[1]


@EXAMPLES
@given(share=st.integers(1, 20), **SIZES)
def test_ranks_share_each_global_batch(n, share, world_size):
    batch_size = share * world_size
    order = list(range(n))
    ranks = [rank_pieces(n, batch_size, Ranks(rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert len({len(pieces) for pieces in ranks}) == 1
    taken = []
    for step, pieces in enumerate(zip(*ranks, strict=True)):
        parts = [order[piece] for piece in pieces]
        assert len({len(part) for part in parts}) == 1
        together = [i for part in parts for i in part]
        assert together == order[step * batch_size : step * batch_size + len(together)]
        taken += together
    assert taken == order[: n - n % batch_size % world_size]


@EXAMPLES
@given(batch_size=st.integers(1, 50), **SIZES)
def test_evaluation_takes_everything_once(n, batch_size, world_size):
    ranks = [eval_pieces(n, batch_size, Ranks(rank=rank, world_size=world_size)) for rank in range(world_size)]
    for rank, pieces in enumerate(ranks):
        assert [i for piece in pieces for i in piece] == list(range(rank, n, world_size))
        assert all(0 < len(piece) <= -(-batch_size // world_size) for piece in pieces)


@EXAMPLES
@given(batch_size=st.integers(1, 50), **SIZES)
def test_whole_batches_are_dealt_to_the_ranks(n, batch_size, world_size):
    ranks = [whole_batches(n, batch_size, Ranks(rank=rank, world_size=world_size)) for rank in range(world_size)]
    images = list(range(n))
    for number, start in enumerate(range(0, n, batch_size)):
        batch = ranks[number % world_size][number // world_size]
        assert list(batch) == images[start : start + batch_size]
    assert sum(map(len, ranks)) == -(-n // batch_size)


def test_impossible_batches_are_refused():
    with refused(10, 3, error=ValueError):
        rank_pieces(100, 10, Ranks(world_size=3))
    for pieces in (eval_pieces, whole_batches):
        with refused(0, error=ValueError):
            pieces(100, 0, Ranks())
    with refused("start_step=4", 3, error=ValueError):
        remaining([1, 2, 3], 4)
    assert remaining([1, 2, 3], 3) == []


# ---- held out, and a part of the test set


def test_hold_out_is_a_fixed_fair_share():
    labels = torch.arange(10).repeat(50)
    kept, held = hold_out(labels, 100)
    assert torch.cat([kept, held]).sort().values.tolist() == list(range(500))
    assert labels[held].bincount().tolist() == [10] * 10
    assert torch.equal(held, hold_out(labels, 100)[1])
    # within a class the choice is random, not the first or the last
    assert len(set((held // 10).tolist())) > 20

    uneven = torch.tensor([0] * 90 + [1] * 9 + [2])
    kept, held = hold_out(uneven, 10)
    assert uneven[held].bincount(minlength=3).tolist() in ([9, 1, 0], [9, 0, 1], [10, 0, 0])
    assert len(held) == 10
    assert hold_out(uneven, 0)[0].tolist() == list(range(100))


@pytest.mark.parametrize("count", [-1, 10, 11])
def test_hold_out_refuses(count):
    with refused(f"val_split={count}", "0 to 9"):
        hold_out(torch.zeros(10, dtype=torch.int64), count)


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
    with refused("images=0"):
        TestSubset(data, 0)


@pytest.mark.parametrize("count", [-1, N])
def test_out_of_range(data, count):
    with refused(f"images={count}", "0 to 59"):
        TestSubset(data, count)
