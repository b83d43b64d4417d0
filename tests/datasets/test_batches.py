import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.batches import epoch_order, eval_pieces, hold_out, rank_pieces, remaining
from smoothmix.utils.errors import UserError


def test_order_is_a_permutation_that_changes_with_seed_and_epoch():
    orders = [epoch_order(100, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert epoch_order(100, 0, 1) == orders[1]


@settings(deadline=None, max_examples=60)
@given(n=st.integers(0, 200), share=st.integers(1, 20), world_size=st.integers(1, 6))
def test_ranks_share_each_global_batch(n, share, world_size):
    batch_size = share * world_size
    order = list(range(n))
    ranks = [rank_pieces(n, batch_size, rank, world_size) for rank in range(world_size)]
    assert len({len(pieces) for pieces in ranks}) == 1
    taken = []
    for step, pieces in enumerate(zip(*ranks, strict=True)):
        parts = [order[piece] for piece in pieces]
        assert len({len(part) for part in parts}) == 1
        together = [i for part in parts for i in part]
        assert together == order[step * batch_size : step * batch_size + len(together)]
        taken += together
    assert taken == order[: n - n % batch_size % world_size]


@settings(deadline=None, max_examples=60)
@given(n=st.integers(0, 200), batch_size=st.integers(1, 50), world_size=st.integers(1, 6))
def test_evaluation_takes_everything_once(n, batch_size, world_size):
    ranks = [eval_pieces(n, batch_size, rank, world_size) for rank in range(world_size)]
    for rank, pieces in enumerate(ranks):
        assert [i for piece in pieces for i in piece] == list(range(rank, n, world_size))
        assert all(0 < len(piece) <= -(-batch_size // world_size) for piece in pieces)


def test_uneven_batches_and_wrong_ranks_are_refused():
    with pytest.raises(ValueError, match="10 cannot be shared evenly by 3"):
        rank_pieces(100, 10, 0, 3)
    with pytest.raises(ValueError, match="rank 2"):
        rank_pieces(100, 10, 2, 2)
    with pytest.raises(ValueError, match="rank -1"):
        eval_pieces(100, 10, -1, 2)
    with pytest.raises(ValueError, match=r"start_step=4 .* 3 steps"):
        remaining([1, 2, 3], 4)
    assert remaining([1, 2, 3], 3) == []


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
    with pytest.raises(UserError, match=f"val_split={count} .* 0 to 9 of the 10"):
        hold_out(torch.zeros(10, dtype=torch.int64), count)
