from functools import cache

import pytest
import torch
from torch import nn

from models.shakedrop import ShakeDrop, draw_scales, shake

DRAWS = 20_000


@cache
def many_scales(drop_prob):
    torch.manual_seed(0)
    x = torch.empty(3, 1)
    scales = [draw_scales(x, drop_prob) for _ in range(DRAWS)]
    return torch.stack([forward for forward, _ in scales]), torch.stack([backward for _, backward in scales])


@pytest.mark.parametrize("drop_prob", [0.0, 0.25, 0.5])
def test_expectations_over_many_batches(drop_prob):
    forward, backward = many_scales(drop_prob)
    assert forward.mean().item() == pytest.approx(1 - drop_prob, abs=0.015)  # E[alpha] = 0
    assert backward.mean().item() == pytest.approx(1 - drop_prob / 2, abs=0.01)  # E[beta] = 1/2
    disturbed = (forward != 1).any(dim=1)
    assert disturbed.float().mean().item() == pytest.approx(drop_prob, abs=0.015)


def test_one_coin_for_the_batch_and_one_alpha_and_beta_for_each_image():
    forward, backward = many_scales(0.5)
    disturbed = (forward != 1).any(dim=1)
    assert torch.equal((forward != 1).all(dim=1), disturbed)
    assert torch.equal((backward != 1).all(dim=1), disturbed)
    alpha, beta = forward[disturbed], backward[disturbed]
    # uniform: range, mean and variance
    assert -1 <= alpha.min() < -0.99 < 0.99 < alpha.max() <= 1
    assert 0 <= beta.min() < 0.01 < 0.99 < beta.max() <= 1
    assert alpha.mean().item() == pytest.approx(0, abs=0.015)
    assert beta.mean().item() == pytest.approx(0.5, abs=0.01)
    assert alpha.var().item() == pytest.approx(1 / 3, abs=0.01)
    assert beta.var().item() == pytest.approx(1 / 12, abs=0.003)
    # independent: of one another and between images
    correlation = torch.corrcoef(torch.cat([alpha, beta], dim=1).T)
    assert (correlation - torch.eye(6)).abs().max() < 0.05


def test_evaluation_multiplies_by_the_expectation_and_draws_nothing():
    x = torch.randn(5, 2, 3, 3)
    before = torch.get_rng_state()
    assert torch.equal(ShakeDrop(0.25).eval()(x), x * 0.75)
    assert torch.equal(ShakeDrop(0.0).eval()(x), x)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("b", [0.0, 1.0])
def test_gradients_of_a_linear_block_are_scaled_by_beta_and_not_by_alpha(b):
    torch.manual_seed(2)
    linear = nn.Linear(6, 4, bias=False).double()
    x = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    alpha, beta = torch.rand(5).double() * 2 - 1, torch.rand(5).double()
    gradient = torch.randn(5, 4, dtype=torch.float64)
    forward, backward = b + alpha - b * alpha, b + beta - b * beta

    out = shake(linear(x), forward, backward)
    out.backward(gradient)
    torch.testing.assert_close(out, forward[:, None] * (x @ linear.weight.T))
    torch.testing.assert_close(x.grad, (backward[:, None] * gradient) @ linear.weight)
    torch.testing.assert_close(linear.weight.grad, (backward[:, None] * gradient).T @ x)


def test_the_module_draws_the_scales_and_applies_them():
    x = torch.randn(6, 2, 4, 4, requires_grad=True)
    disturbed = 0
    for seed in range(8):
        torch.manual_seed(seed)
        forward, backward = draw_scales(x, 0.5)
        torch.manual_seed(seed)
        x.grad = None
        out = ShakeDrop(0.5).train()(x)
        out.sum().backward()
        torch.testing.assert_close(out, x * forward.view(6, 1, 1, 1))
        torch.testing.assert_close(x.grad, backward.view(6, 1, 1, 1).expand_as(x))
        disturbed += int((forward != 1).any())
    assert 0 < disturbed < 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype_and_memory_format_are_kept(dtype):
    torch.manual_seed(3)
    x = torch.randn(3, 4, 5, 5, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    for _ in range(4):
        out = ShakeDrop(0.5).train()(x)
        out.sum().backward()
        assert out.dtype is x.grad.dtype is dtype
        assert out.is_contiguous(memory_format=torch.channels_last)
