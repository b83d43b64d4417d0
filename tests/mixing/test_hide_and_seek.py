"""Hide-and-Seek: which pixels are hidden, how often, and that the label stays whole."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smoothmix import HideAndSeek
from tests.mixing.strategies import seeded


def slow_masks(sides, hide_prob, choices, coins, size):
    """A loop over images and patches, as the method is described: 1 visible, 0 hidden."""
    masks = torch.ones(len(choices), 1, *size)
    for i, choice in enumerate(choices):
        side = sides[choice]
        if side == 0:
            continue
        for row, y in enumerate(range(0, size[0], side)):
            for column, x in enumerate(range(0, size[1], side)):
                if coins[i, row, column] < hide_prob:
                    masks[i, 0, y : min(y + side, size[0]), x : min(x + side, size[1])] = 0
    return masks


@given(
    n=st.integers(1, 5),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    grids=st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(any),
    image_size=st.sampled_from([51, 100, 224]),
    hide_prob=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_masks_equal_a_loop_over_patches(n, height, width, grids, image_size, hide_prob, seed):
    strategy = HideAndSeek(
        num_classes=2, grids=grids, image_size=image_size, hide_prob=hide_prob, generator=seeded(seed)
    )
    sides = strategy.sides((height, width))
    finest = min(side for side in sides if side)
    drawn = {}

    def whole(n, below, device):
        drawn["choices"] = torch.randint(below, (n,), generator=strategy.generator)
        return drawn["choices"]

    def uniform(n, low, high, device):
        drawn["coins"] = torch.rand(n, generator=strategy.generator)
        return drawn["coins"]

    strategy.whole, strategy.uniform = whole, uniform
    masks = strategy.sample(n, (height, width), "cpu")
    coins = drawn["coins"].view(n, -(-height // finest), -(-width // finest))
    assert torch.equal(masks, slow_masks(sides, hide_prob, drawn["choices"].tolist(), coins, (height, width)))


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        ((224, 224), (0, 16, 32, 44, 56)),
        ((32, 32), (0, 2, 5, 6, 8)),
        ((32, 48), (0, 2, 5, 6, 8)),  # of the shorter side
        ((448, 300), (0, 21, 43, 59, 75)),
        ((4, 4), (0, 1, 1, 1, 1)),  # never less than a pixel
    ],
)
def test_sides_follow_the_image(size, sides):
    assert HideAndSeek(num_classes=2).sides(size) == sides


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (56, 56)])
def test_hidden_share_is_the_closed_form(size):
    """Every pixel is hidden with probability 1/2 under each of the four grids, and under none of them in 1 of 5."""
    strategy = HideAndSeek(num_classes=2, generator=seeded())
    hidden = 1 - strategy.sample(20_000, size, "cpu")
    assert hidden.mean().item() == pytest.approx(0.4, abs=0.01)
    everywhere = hidden.mean(dim=0)
    assert (everywhere - 0.4).abs().max() < 0.02
    whole = (hidden.flatten(1).sum(1) == 0).float().mean().item()
    all_shown = sum(0.5 ** (-(-size[0] // side) * -(-size[1] // side)) for side in strategy.sides(size)[1:])
    assert whole == pytest.approx((1 + all_shown) / 5, abs=0.01)


@pytest.mark.parametrize("hide_prob", [0.1, 0.5, 0.9])
def test_patches_are_hidden_independently(hide_prob):
    """The share of 49 equal patches has the variance of 49 coins."""
    strategy = HideAndSeek(num_classes=2, grids=[32], hide_prob=hide_prob, generator=seeded())
    share = 1 - strategy.sample(5_000, (56, 56), "cpu").mean(dim=(1, 2, 3))  # patches of 8 pixels
    assert share.mean().item() == pytest.approx(hide_prob, abs=0.005)
    assert share.var().item() == pytest.approx(hide_prob * (1 - hide_prob) / 49, rel=0.1)


def test_each_grid_is_as_likely():
    """With coins that always hide nothing but the first patch, the hidden area tells the grid."""
    strategy = HideAndSeek(num_classes=2, generator=seeded())

    def uniform(n, low, high, device):
        coins = torch.ones(10_000, 14, 14)
        coins[:, 0, 0] = 0
        return coins.flatten()

    strategy.uniform = uniform
    masks = strategy.sample(10_000, (56, 56), "cpu")  # a quarter of 224
    area = (1 - masks).sum(dim=(1, 2, 3))
    values, counts = area.unique(return_counts=True)
    assert values.tolist() == [0, 4**2, 8**2, 11**2, 14**2]
    chi_square = ((counts - 2_000) ** 2 / 2_000).sum()
    assert chi_square < 18.5  # 4 degrees of freedom, 0.1 %
    assert torch.equal(masks[:, 0, 0, 0] == 0, area > 0)  # the patch in the corner


@given(
    n=st.integers(1, 6),
    height=st.integers(1, 33),
    width=st.integers(1, 33),
    per_sample=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 2**31),
)
def test_the_label_stays_whole_and_hidden_pixels_are_zero_in_every_channel(n, height, width, per_sample, dtype, seed):
    images, labels = torch.full((n, 3, height, width), 2.0, dtype=dtype), torch.arange(n) % 4
    strategy = HideAndSeek(num_classes=4, per_sample=per_sample, generator=seeded(seed))
    hidden, targets = strategy(images, labels)
    assert torch.equal(targets, torch.nn.functional.one_hot(labels, 4).float())
    assert set(hidden.unique().tolist()) <= {0.0, 2.0}
    assert torch.equal((hidden == 0).any(dim=1), (hidden == 0).all(dim=1))
    if not per_sample:
        assert all(torch.equal(hidden[0], other) for other in hidden)


def test_images_of_a_batch_differ():
    hidden, _ = HideAndSeek(num_classes=2, generator=seeded())(torch.ones(50, 1, 32, 32), torch.zeros(50).long())
    assert len(hidden.flatten(1).unique(dim=0)) > 35  # a fifth stays whole
