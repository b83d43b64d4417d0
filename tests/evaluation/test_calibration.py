from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smoothmix.evaluation.calibration import BINS, calibration_errors

# few different values, so that some are equal, and some lie on the edges of bins
CONFIDENCES = st.one_of(st.sampled_from([k / BINS for k in range(1, BINS + 1)]), st.floats(0.1, 1))
IMAGES = st.lists(st.tuples(CONFIDENCES, st.booleans()), min_size=1, max_size=60)


def of(images):
    confidences, correct = torch.tensor(images, dtype=torch.float64).T
    return calibration_errors(confidences, correct)


def of_bins(bins, n):
    """The definition of Guo et al.: bins of (confidence, correct)."""
    total = 0.0
    for images in filter(None, bins):
        accuracy = sum(correct for _, correct in images) / len(images)
        confidence = sum(confidence for confidence, _ in images) / len(images)
        total += len(images) / n * abs(accuracy - confidence)
    return pytest.approx(100 * total, abs=1e-9)


@given(IMAGES)
def test_bins_of_equal_width_are_those_of_the_definition(images):
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64).tolist()
    bins = [[one for one in images if low < one[0] <= high] for low, high in pairwise(edges)]
    assert of(images)["ece"] == of_bins(bins, len(images))


@given(IMAGES)
def test_bins_of_equal_mass_are_those_of_the_definition(images):
    """Images of equal confidence stand for each other: each gets the mean correctness of all of them."""
    by_confidence = {}
    for confidence, correct in images:
        by_confidence.setdefault(confidence, []).append(correct)
    correctness = {confidence: sum(correct) / len(correct) for confidence, correct in by_confidence.items()}
    ordered = [(confidence, correctness[confidence]) for confidence, _ in sorted(images)]
    size, larger = divmod(len(images), BINS)
    starts = [number * size + min(number, larger) for number in range(BINS + 1)]
    bins = [ordered[start:end] for start, end in pairwise(starts)]
    assert of(images)["adaptive_ece"] == of_bins(bins, len(images))


@given(IMAGES, st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(images, random):
    """Not to the last bit: so the number of ranks does not either."""
    assert of(random.sample(images, len(images))) == of(images)


def test_known_cases():
    assert of([(1.0, True)] * 7) == {"ece": 0.0, "adaptive_ece": 0.0}
    assert of([(1.0, False)] * 7) == {"ece": 100.0, "adaptive_ece": 100.0}
    assert of([(0.75, True)] * 3 + [(0.75, False)]) == {"ece": 0.0, "adaptive_ece": 0.0}
    # one bin of equal width, in which over- and underconfidence cancel; 15 of equal mass, in which they do not
    uneven = of([(0.95, True)] * 15 + [(0.99, False)] * 15)
    assert uneven["ece"] == pytest.approx(47.0)
    assert uneven["adaptive_ece"] == pytest.approx((7 * 2 * 5 + 2 * 47 + 7 * 2 * 99) / 30)
