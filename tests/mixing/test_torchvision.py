"""Mixup and CutMix against torchvision's, given the same numbers."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from smoothmix.mixing.blend import blend
from smoothmix.mixing.cutmix import cutmix_mask
from tests.mixing.strategies import seeded

v2 = pytest.importorskip("torchvision.transforms.v2")

N, CLASSES = 5, 4


def batch(height, width):
    generator = seeded()
    return torch.randn(N, 3, height, width, generator=generator), torch.tensor([0, 3, 1, 2, 3])


# torchvision pairs an image with the one before it.
PARTNER = torch.arange(N).roll(1)


class Fixed:
    """Stands for torchvision's Beta distribution."""

    def __init__(self, value):
        self.value = value

    def sample(self, shape):
        return torch.tensor([self.value])


@given(lam=st.floats(0, 1, width=32))
def test_mixup_agrees(lam):
    images, labels = batch(9, 7)
    theirs = v2.MixUp(num_classes=CLASSES)
    theirs._dist = Fixed(lam)
    expected_images, expected_targets = theirs(images, labels)
    mixed, targets = blend(images, torch.eye(CLASSES)[labels], PARTNER, torch.full((1, 1, 1, 1), lam))
    torch.testing.assert_close(mixed, expected_images, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(targets, expected_targets, atol=1e-6, rtol=0)


@given(lam=st.floats(0, 1, width=32), height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_cutmix_agrees(lam, height, width, seed):
    """Same box, odd sides and cut-off corners included: every pixel is equal."""
    for side in (height, width):  # float64 there and float32 here may fall on either side of a whole number
        length = (1 - lam) ** 0.5 * side
        assume(lam in (0, 1) or abs(length - round(length)) > 1e-4)
    images, labels = batch(height, width)
    theirs = v2.CutMix(num_classes=CLASSES)
    theirs._dist = Fixed(lam)
    torch.manual_seed(seed)
    x, y = torch.randint(width, size=(1,)), torch.randint(height, size=(1,))
    torch.manual_seed(seed)
    expected_images, expected_targets = theirs(images, labels)
    mask = cutmix_mask((height, width), (y, x), torch.tensor([lam]))
    mixed, targets = blend(images, torch.eye(CLASSES)[labels], PARTNER, mask)
    assert torch.equal(mixed, expected_images)
    torch.testing.assert_close(targets, expected_targets, atol=1e-6, rtol=0)
