"""The invariant: the weight of a label is the mean share of its image's pixels, for every strategy.

Image i is 1 in channel i and 0 elsewhere, and its class is i. After mixing, the mean of channel j in image i is the
share of image j's pixels in it, to be compared with target j. This catches labels whose two weights are swapped, the
fault of OpenMixup's SmoothMix, which gives the weight of the pasted image to the label of the image underneath.
"""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from smoothmix import CenterGaussian, CutMix, Cutout, Mixup, SmoothMixC, SmoothMixS
from tests.mixing.strategies import seeded

MIXING = [
    lambda **kwargs: Mixup(alpha=1.0, **kwargs),
    lambda **kwargs: Mixup(alpha=0.2, **kwargs),
    lambda **kwargs: CutMix(**kwargs),
    lambda **kwargs: SmoothMixC(**kwargs),
    lambda **kwargs: SmoothMixC(sigma=(0.0, 1.0), **kwargs),  # from a point to far beyond the border
    lambda **kwargs: SmoothMixC(sigma=(0.375, 0.375), **kwargs),
    lambda **kwargs: CenterGaussian(**kwargs),
    lambda **kwargs: CenterGaussian(spread=30.0, **kwargs),  # mostly outside the image
    lambda **kwargs: SmoothMixS(**kwargs),
    lambda **kwargs: SmoothMixS(sigma=(0.5, 1.0), k=0.0, **kwargs),
    lambda **kwargs: SmoothMixS(sigma=(0.0, 1.0), k=1.0, **kwargs),
]
# Rounding of one blended pixel to the dtype, plus that of the mean.
TOLERANCE = {torch.float32: 1e-6, torch.float16: 6e-4, torch.bfloat16: 5e-3}


def one_hot_channel_images(n, height, width, dtype=torch.float32, memory_format=torch.contiguous_format):
    images = torch.eye(n)[:, :, None, None].expand(n, n, height, width)
    return images.to(dtype).contiguous(memory_format=memory_format)


def pixel_share(images):
    return images.float().mean(dim=(2, 3))


@given(
    build=st.sampled_from(MIXING),
    n=st.integers(1, 7),
    height=st.integers(1, 19),
    width=st.integers(1, 19),
    p=st.sampled_from([0.5, 1.0]),
    per_sample=st.booleans(),
    dtype=st.sampled_from(list(TOLERANCE)),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    seed=st.integers(0, 2**31),
)
@example(MIXING[1], 1, 5, 5, 1.0, False, torch.float32, torch.contiguous_format, 0)
def test_label_weight_is_pixel_share(build, n, height, width, p, per_sample, dtype, memory_format, seed):
    images = one_hot_channel_images(n, height, width, dtype, memory_format)
    generator = seeded(seed)
    mixed, targets = build(num_classes=n, p=p, per_sample=per_sample, generator=generator)(images, torch.arange(n))
    assert mixed.shape == images.shape
    assert mixed.dtype == dtype
    assert mixed.is_contiguous(memory_format=memory_format)
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets, pixel_share(mixed), atol=TOLERANCE[dtype], rtol=0)
    torch.testing.assert_close(targets.sum(1), torch.ones(n), atol=1e-6, rtol=0)


@pytest.mark.parametrize("build", MIXING)
@pytest.mark.parametrize("per_sample", [False, True])
def test_strategies_do_mix(build, per_sample):
    """Guards the test above: it would hold for a strategy that never mixes."""
    images = one_hot_channel_images(64, 32, 32)
    generator = seeded(1)
    mixed, targets = build(num_classes=64, p=1.0, per_sample=per_sample, generator=generator)(images, torch.arange(64))
    own = targets.diagonal()
    assert ((targets > 0).sum(1) <= 2).all()
    assert (own < 0.999).sum() > 16
    assert len(own.unique()) > (8 if per_sample else 1) or not per_sample
    if not per_sample:  # one mask: every image that is not its own partner keeps the same share
        assert len(own[own < 1].unique()) == 1
    assert not torch.equal(mixed, images)


@given(
    n=st.integers(1, 6),
    size=st.integers(1, 25),
    height=st.integers(1, 19),
    width=st.integers(1, 19),
    per_sample=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_cutout_keeps_the_label_whole(n, size, height, width, per_sample, seed):
    images = torch.full((n, 3, height, width), 2.0)
    generator = seeded(seed)
    cutout = Cutout(num_classes=4, size=size, per_sample=per_sample, generator=generator)
    labels = torch.arange(n) % 4
    cut, targets = cutout(images, labels)
    assert torch.equal(targets, torch.nn.functional.one_hot(labels, 4).float())
    assert set(cut.unique().tolist()) <= {0.0, 2.0}
    hole = (cut == 0).all(dim=1)
    assert torch.equal(hole, (cut == 0).any(dim=1))
    side = size // 2 * 2
    assert (hole.any(dim=2).sum(dim=1) <= min(side, height)).all()
    assert (hole.any(dim=1).sum(dim=1) <= min(side, width)).all()


def test_cutout_hole_has_its_size_and_leaves_the_image():
    cutout = Cutout(num_classes=2, size=16, generator=seeded())
    area = (1 - cutout.sample(20_000, (32, 32), "cpu")).sum(dim=(1, 2, 3))
    assert area.max() == 16 * 16
    assert area.min() == 8 * 8  # centred on a corner
    # Along one dimension a centre c leaves min(c + 8, 32) - max(c - 8, 0) pixels, 14 in the mean over c = 0..31.
    assert area.mean().item() == pytest.approx(14.0**2, abs=1.5)


@pytest.mark.parametrize("build", [*MIXING, lambda **kwargs: Cutout(size=4, **kwargs)])
def test_soft_labels_are_mixed_like_hard_ones(build):
    images, labels = torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])

    def run(labels):
        return build(num_classes=3, p=1.0, per_sample=True, generator=seeded(3))(images, labels)

    hard_images, hard = run(labels)
    for soft_labels in (torch.eye(3)[labels], torch.eye(3, dtype=torch.float64)[labels], torch.eye(3).long()[labels]):
        soft_images, soft = run(soft_labels)
        assert soft.dtype == torch.float32
        assert torch.equal(soft, hard)
        assert torch.equal(soft_images, hard_images)
    assert torch.equal(run(labels.int())[1], hard)


def test_soft_cross_entropy_is_the_two_weighted_ones():
    """Training on the mixed targets is the usual lam * CE(y_i) + (1 - lam) * CE(y_j)."""
    generator = seeded()
    strategy = SmoothMixC(num_classes=10, p=1.0, per_sample=True, generator=generator)
    images, labels, logits = torch.randn(8, 3, 16, 16), torch.randint(10, (8,)), torch.randn(8, 10)
    state = generator.get_state()
    _, targets = strategy(images, labels)
    generator.set_state(state)
    lam = strategy.draw_mask(images).mean(dim=(1, 2, 3))
    partner = strategy.draw_partner(images)
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    partner_losses = torch.nn.functional.cross_entropy(logits, labels[partner], reduction="none")
    expected = (lam * losses + (1 - lam) * partner_losses).mean()
    assert not torch.equal(labels, labels[partner])
    torch.testing.assert_close(torch.nn.functional.cross_entropy(logits, targets), expected)
