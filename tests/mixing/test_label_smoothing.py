"""Label smoothing against its formula and against torch's."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from smoothmix import LabelSmoothing
from tests.mixing.strategies import seeded


@given(
    n=st.integers(1, 6),
    classes=st.integers(1, 12),
    smoothing=st.floats(0, 1),
    soft=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_targets_are_the_formula_and_torchs_loss(n, classes, smoothing, soft, seed):
    generator = seeded(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    if soft:
        labels = torch.rand(n, classes, generator=generator).softmax(1)
    logits = torch.randn(n, classes, generator=generator)
    _, targets = LabelSmoothing(num_classes=classes, smoothing=smoothing)(torch.zeros(n, 3, 4, 4), labels)
    whole = labels if soft else F.one_hot(labels, classes)
    torch.testing.assert_close(targets, (1 - smoothing) * whole + smoothing / classes, atol=1e-6, rtol=0)
    torch.testing.assert_close(targets.sum(1), torch.ones(n))
    theirs = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    torch.testing.assert_close(F.cross_entropy(logits, targets), theirs, atol=1e-5, rtol=1e-5)


def test_the_papers_numbers():
    """smoothing 0.1 on 100 classes: 0.901 on the right one, 0.001 on each other."""
    _, targets = LabelSmoothing(num_classes=100)(torch.zeros(1, 3, 4, 4), torch.tensor([7]))
    assert targets[0, 7].item() == pytest.approx(0.901, abs=1e-6)
    assert targets[0, 8].item() == pytest.approx(0.001, abs=1e-8)


@pytest.mark.parametrize("per_sample", [False, True])
def test_the_coin_leaves_labels_whole(per_sample):
    strategy = LabelSmoothing(num_classes=4, p=0.3, per_sample=per_sample, generator=seeded())
    images, labels = torch.zeros(100, 1, 2, 2), torch.zeros(100, dtype=torch.long)
    whole = torch.stack([strategy(images, labels)[1][:, 0] == 1 for _ in range(500)]).float()
    assert whole.mean().item() == pytest.approx(0.7, abs=0.06)
    assert (set(whole.mean(1).tolist()) == {0.0, 1.0}) == (not per_sample)
