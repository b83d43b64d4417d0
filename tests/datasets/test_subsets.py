import pytest
import torch

from datasets.sampling import hold_out
from smoothmix.utils.errors import UserError


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
