import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.sampling import epoch_order, eval_pieces, rank_pieces, remaining, whole_batches
from smoothmix.utils.distributed import Ranks


def test_order_is_a_permutation_that_changes_with_seed_and_epoch():
    orders = [epoch_order(100, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert epoch_order(100, 0, 1) == orders[1]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(n=st.integers(0, 200), share=st.integers(1, 20), world_size=st.integers(1, 6))
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


@settings(deadline=None, max_examples=60, derandomize=True)
@given(n=st.integers(0, 200), batch_size=st.integers(1, 50), world_size=st.integers(1, 6))
def test_evaluation_takes_everything_once(n, batch_size, world_size):
    ranks = [eval_pieces(n, batch_size, Ranks(rank=rank, world_size=world_size)) for rank in range(world_size)]
    for rank, pieces in enumerate(ranks):
        assert [i for piece in pieces for i in piece] == list(range(rank, n, world_size))
        assert all(0 < len(piece) <= -(-batch_size // world_size) for piece in pieces)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(n=st.integers(0, 200), batch_size=st.integers(1, 50), world_size=st.integers(1, 6))
def test_whole_batches_are_dealt_to_the_ranks(n, batch_size, world_size):
    ranks = [whole_batches(n, batch_size, Ranks(rank=rank, world_size=world_size)) for rank in range(world_size)]
    images = list(range(n))
    for number, start in enumerate(range(0, n, batch_size)):
        batch = ranks[number % world_size][number // world_size]
        assert list(batch) == images[start : start + batch_size]
    assert sum(map(len, ranks)) == -(-n // batch_size)


def test_impossible_batches_are_refused():
    with pytest.raises(ValueError, match="10 cannot be shared evenly by 3"):
        rank_pieces(100, 10, Ranks(world_size=3))
    for pieces in (eval_pieces, whole_batches):
        with pytest.raises(ValueError, match="a batch of 0 images is empty"):
            pieces(100, 0, Ranks())
    with pytest.raises(ValueError, match=r"start_step=4 .* 3 steps"):
        remaining([1, 2, 3], 4)
    assert remaining([1, 2, 3], 3) == []
