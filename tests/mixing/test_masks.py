"""The masks against slow loops, closed forms and the limits of Eq. 5 and 7."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smoothmix import box_mask, gaussian_mask, square_mask

SIZES = st.tuples(st.integers(1, 13), st.integers(1, 13))
POSITIONS = st.floats(-10, 24)


def slow(size, value):
    return torch.tensor([[value(row + 0.5, column + 0.5) for column in range(size[1])] for row in range(size[0])])


@given(size=SIZES, y=POSITIONS, x=POSITIONS, sigma=st.floats(0.3, 30))
def test_gaussian_equals_double_loop(size, y, x, sigma):
    expected = slow(size, lambda r, c: math.exp(-((r - y) ** 2 + (c - x) ** 2) / (2 * sigma**2)))
    torch.testing.assert_close(gaussian_mask(size, (y, x), sigma), expected, atol=1e-5, rtol=0)


def test_gaussian_closed_forms():
    mask = gaussian_mask((65, 65), (32.5, 32.5), 5.0)
    assert mask[32, 32] == 1
    assert mask[32, 37].item() == pytest.approx(math.exp(-0.5), abs=1e-6)  # one sigma along x
    assert mask[37, 37].item() == pytest.approx(math.exp(-1.0), abs=1e-6)  # one sigma along both
    assert mask.sum().item() == pytest.approx(2 * math.pi * 25, rel=1e-5)  # integral over the plane


def test_gaussian_at_zero_sigma_is_finite():
    assert gaussian_mask((3, 3), (1.0, 1.0), 0.0).tolist() == [[0.0] * 3] * 3
    assert gaussian_mask((1, 3), (0.5, 1.5), torch.zeros(1)).tolist() == [[[[0.0, 1.0, 0.0]]]]


def square_profile(distance, side, k):
    if k * side == 0:
        return float(distance < side / 2)
    return min(max(0.5 + (side / 2 - distance) / (2 * k * side), 0.0), 1.0)


@given(size=SIZES, y=POSITIONS, x=POSITIONS, sigma=st.floats(0.5, 20), k=st.floats(0.05, 2))
def test_square_equals_double_loop(size, y, x, sigma, k):
    expected = slow(size, lambda r, c: square_profile(abs(r - y), sigma, k) * square_profile(abs(c - x), sigma, k))
    torch.testing.assert_close(square_mask(size, (y, x), sigma, k), expected, atol=3e-4, rtol=0)


def test_square_ramp_from_three_to_seven_tenths_of_the_side():
    """k = 0.2: 1 up to 0.3 s from the centre, 1/2 at the edge, 0 from 0.7 s on, and linear between."""
    row = square_mask((1, 41), (0.5, 20.5), 20.0, 0.2)[0]  # a pixel at every whole distance from the centre
    right = row[20:]
    assert right[: 6 + 1].tolist() == [1.0] * 7
    assert right[10].item() == pytest.approx(0.5)
    assert right[14:].abs().max() < 1e-6
    torch.testing.assert_close(right[6:15], torch.linspace(1, 0, 9), atol=1e-6, rtol=0)
    assert torch.equal(row, row.flip(0))


def test_square_keeps_the_area_of_the_hard_box():
    assert square_mask((40, 40), (20.0, 20.0), 20.0, 0.2).sum().item() == pytest.approx(400, abs=1e-2)


def test_square_tends_to_the_hard_box():
    size, center, side = (17, 23), (7.3, 11.9), 9.4
    hard = box_mask(size, center, (side, side))
    gaps = [(square_mask(size, center, side, k) - hard).abs().mean().item() for k in (0.4, 0.2, 0.1, 0.05, 1e-4, 0.0)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 0.05
    assert gaps[-2:] == [0.0, 0.0]


@pytest.mark.parametrize("k", [0.0, 1e-30, 0.2, 1e30])
@pytest.mark.parametrize("center", [(2.0, 2.0), (2.5, 2.5)])
def test_square_without_a_side_is_empty(k, center):
    assert square_mask((5, 5), center, 0.0, k).tolist() == [[0.0] * 5] * 5
    tiny = square_mask((5, 5), (2.0, 2.0), torch.tensor([0.0, 1e-42, 1e-30]), min(k, 1.0))
    assert torch.isfinite(tiny).all()
    assert tiny.sum() == 0


@given(size=SIZES, y=st.integers(-3, 16), x=st.integers(-3, 16), height=st.integers(0, 20), width=st.integers(0, 20))
def test_box_equals_slicing_at_whole_centres(size, y, x, height, width):
    """The convention of the Cutout and CutMix codes: [c - s//2, c + s//2), cut off at the border."""
    expected = torch.zeros(size)
    rows = slice(max(y - height // 2, 0), max(y + height // 2, 0))
    columns = slice(max(x - width // 2, 0), max(x + width // 2, 0))
    expected[rows, columns] = 1
    assert torch.equal(box_mask(size, (y, x), (height, width)), expected)


@given(size=SIZES, y=POSITIONS, x=POSITIONS, height=st.floats(0, 20), width=st.floats(0, 20))
def test_box_equals_double_loop(size, y, x, height, width):
    y, x, height, width = (float(torch.tensor(v).mul(8).round() / 8) for v in (y, x, height, width))  # exact in float32
    expected = slow(size, lambda r, c: float(abs(r - y) < height / 2 and abs(c - x) < width / 2))
    assert torch.equal(box_mask(size, (y, x), (height, width)), expected)


def test_one_mask_a_sample():
    """A tensor among the arguments gives (N, 1, H, W), row by row what the numbers give."""
    y, x, sigma = torch.tensor([1.0, 9.0, -2.0]), torch.tensor([4.0, 0.5, 12.0]), torch.tensor([2.0, 7.0, 30.0])
    size = (7, 11)
    batches = [
        (gaussian_mask(size, (y, x), sigma), lambda *v: gaussian_mask(size, v[:2], v[2])),
        (square_mask(size, (y, x), sigma, 0.2), lambda *v: square_mask(size, v[:2], v[2], 0.2)),
        (box_mask(size, (y, x), (sigma, 3.0)), lambda *v: box_mask(size, v[:2], (v[2], 3.0))),
    ]
    for batch, single in batches:
        assert batch.shape == (3, 1, 7, 11)
        assert batch.dtype == torch.float32
        for row, numbers in zip(batch, zip(y.tolist(), x.tolist(), sigma.tolist(), strict=True), strict=True):
            assert torch.equal(row[0], single(*numbers))


def test_numbers_and_tensors_mix():
    only_y = gaussian_mask((5, 6), (torch.tensor([1.0, 2.0]), 3.0), 2.0)
    only_sigma = gaussian_mask((5, 6), (1.0, 3.0), torch.tensor([2.0, 2.0], dtype=torch.float64))
    assert only_y.shape == only_sigma.shape == (2, 1, 5, 6)
    assert torch.equal(only_y[0], only_sigma[1])
    assert torch.equal(only_y[0, 0], gaussian_mask((5, 6), (torch.tensor(1.0), 3), 2))


def test_masks_are_float32_under_another_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        for mask in (
            gaussian_mask((3, 3), (1, 1), 1),
            square_mask((3, 3), (1, 1), 1, 0),
            box_mask((3, 3), (1, 1), (2, 2)),
        ):
            assert mask.dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
