import math

import pytest
import torch
from torch.nn import functional as F

from smoothmix.training.step import classification_loss, jensen_shannon


def draw(*shape, seed=0, scale=2.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def soft_targets(n, k):
    return draw(n, k, seed=9).softmax(dim=1)


def test_one_view_is_the_cross_entropy():
    logits, targets = draw(7, 5), soft_targets(7, 5)
    assert torch.equal(classification_loss(logits, targets), F.cross_entropy(logits, targets))
    assert torch.equal(classification_loss(logits, targets, views=1), F.cross_entropy(logits, targets))
    half = classification_loss(logits.bfloat16(), targets)
    assert half.dtype == torch.float32
    assert torch.equal(half, F.cross_entropy(logits.bfloat16().float(), targets))


def test_the_consistency_of_identical_views_is_zero():
    logits = draw(11, 10)
    assert abs(jensen_shannon(logits, logits, logits).item()) < 1e-6
    shifted = jensen_shannon(logits, logits + 3, logits - 5)  # the same probabilities
    assert abs(shifted.item()) < 1e-6
    loss = classification_loss(torch.cat([logits] * 3), torch.cat([soft_targets(11, 10)] * 3), views=3)
    assert loss.item() == pytest.approx(F.cross_entropy(logits, soft_targets(11, 10)).item(), abs=1e-5)


def test_the_consistency_of_certain_and_different_predictions_is_log_3():
    views = 80 * torch.eye(3)[:, None].expand(3, 5, 3)
    assert jensen_shannon(*views).item() == pytest.approx(math.log(3), rel=1e-6)


def slow_loss(logits, targets, n):
    """Per sample, in double precision, from the definitions."""
    total = 0.0
    for i in range(n):
        p = [logits[i + view * n].double().softmax(dim=0) for view in range(3)]
        mixture = sum(p) / 3
        total -= sum(t * math.log(q) for t, q in zip(targets[i].tolist(), p[0].tolist(), strict=True))
        for view in p:
            total += 12 / 3 * sum(a * math.log(a / m) for a, m in zip(view.tolist(), mixture.tolist(), strict=True))
    return total / n


@pytest.mark.parametrize("n", [1, 5])
def test_three_views_against_the_slow_version(n):
    logits, targets = draw(3 * n, 6), soft_targets(n, 6).repeat(3, 1)
    expected = slow_loss(logits, targets, n)
    assert classification_loss(logits, targets, views=3).item() == pytest.approx(expected, rel=1e-5)


def test_only_the_clean_third_is_held_against_the_targets():
    logits, targets = draw(12, 5), soft_targets(12, 5)
    other = targets.clone()
    other[4:] = other[4:].flip(1)
    loss = classification_loss(logits, targets, views=3)
    assert torch.equal(loss, classification_loss(logits, other, views=3))
    other[0] = other[0].flip(0)
    assert not torch.equal(loss, classification_loss(logits, other, views=3))


def test_the_gradient_is_that_of_the_divergences():
    logits = draw(12, 5).requires_grad_()
    targets = soft_targets(12, 5)
    (ours,) = torch.autograd.grad(classification_loss(logits, targets, views=3), logits)
    clean, one, two = logits.chunk(3)
    p = [view.softmax(dim=1) for view in (clean, one, two)]
    log_mixture = (sum(p) / 3).log()
    divergence = sum(F.kl_div(log_mixture, view, reduction="batchmean") for view in p)
    (theirs,) = torch.autograd.grad(F.cross_entropy(clean, targets[:4]) + 4 * divergence, logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_certain_predictions_have_a_finite_gradient():
    certain = 500 * torch.eye(3, 4)  # and all three agree that it is not the fourth class
    logits = certain.repeat_interleave(2, dim=0).requires_grad_()
    loss = classification_loss(logits, torch.eye(4)[[0, 0] * 3], views=3)
    loss.backward()
    assert loss.item() == pytest.approx(12 * math.log(3), rel=1e-5)
    assert logits.grad.isfinite().all()
