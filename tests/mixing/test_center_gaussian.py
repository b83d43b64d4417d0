"""The ablations of Tables 7 and 8: where the centre lies, and a sigma that does not vary."""

import math

import pytest
import torch

from smoothmix import CenterGaussian, SmoothMixC, gaussian_mask
from tests.mixing.strategies import seeded


@pytest.mark.parametrize("spread", [4.0, 12.0])
@pytest.mark.parametrize("size", [(32, 32), (10, 40)])
def test_centre_is_normal_about_the_middle(size, spread):
    strategy = CenterGaussian(num_classes=2, spread=spread, generator=seeded())
    centers = torch.stack(strategy.sample_center(100_000, size, "cpu"))
    for values, length in zip(centers, size, strict=True):
        deviation = (values - length / 2) / spread
        assert deviation.mean().abs() < 0.015
        assert deviation.std().item() == pytest.approx(1, abs=0.01)
        # as a normal law has it, and not clipped at the border
        for k, share in ((1, 0.6827), (2, 0.9545), (3, 0.9973)):
            assert (deviation.abs() < k).float().mean().item() == pytest.approx(share, abs=0.006)
        outside = ((values < 0) | (values > length)).float().mean().item()
        assert outside == pytest.approx(math.erfc(length / 2 / spread / math.sqrt(2)), abs=0.006)
    assert torch.corrcoef(centers)[0, 1].abs() < 0.015


def test_without_spread_the_centre_is_the_middle():
    strategy = CenterGaussian(num_classes=2, p=1.0, spread=0, sigma=(0.25, 0.25))
    mask = strategy.draw_mask(torch.zeros(3, 1, 32, 24))
    assert torch.equal(mask[0, 0], gaussian_mask((32, 24), (16, 12), 6))


@pytest.mark.parametrize("spread", [4.0, 12.0])
def test_mean_share_is_the_closed_form(spread):
    """Over a normal centre a Gaussian's mean is the wider Gaussian sigma/w exp(-d^2 / 2w^2), w^2 = sigma^2 + spread^2;
    squared for both dimensions, and averaged over sigma = 8 to 16 pixels."""
    sigma = torch.linspace(8, 16, 2001, dtype=torch.float64)[:, None]
    width = (sigma**2 + spread**2).sqrt()
    distance = torch.arange(32, dtype=torch.float64) + 0.5 - 16
    exact = (sigma / width * torch.exp(-0.5 * (distance / width) ** 2)).mean(1).square().mean().item()
    strategy = CenterGaussian(num_classes=2, spread=spread, generator=seeded())
    means = [strategy.sample(10_000, (32, 32), "cpu").mean(dim=(1, 2, 3)) for _ in range(5)]
    assert torch.cat(means).mean().item() == pytest.approx(exact, abs=0.003)


@pytest.mark.parametrize(("fraction", "pixels"), [(0.25, 8.0), (0.375, 12.0), (0.5, 16.0)])
@pytest.mark.parametrize("per_sample", [False, True])
def test_a_fixed_sigma_is_exact(fraction, pixels, per_sample):
    strategy = SmoothMixC(num_classes=2, p=1.0, per_sample=per_sample, sigma=(fraction, fraction), generator=seeded())
    assert strategy.sample_sigma(1_000, (32, 32), "cpu").unique().tolist() == [pixels]
    strategy.generator = seeded()
    y, x = strategy.sample_center(3, (32, 32), "cpu")
    strategy.generator = seeded()
    masks = strategy.sample(3, (32, 32), "cpu")
    for i in range(3):
        torch.testing.assert_close(masks[i, 0], gaussian_mask((32, 32), (y[i].item(), x[i].item()), pixels))


def test_the_mask_is_smoothmix_cs_but_for_its_centre():
    """Given the same centre and sigma; what Table 7 compares."""
    one, other = CenterGaussian(num_classes=2), SmoothMixC(num_classes=2)
    numbers = (32, 32), (torch.tensor([3.0, 20.0]), torch.tensor([-4.0, 16.0])), torch.tensor([8.0, 15.0])
    assert torch.equal(one.mask(*numbers), other.mask(*numbers))
    one.generator, other.generator = seeded(), seeded()
    assert torch.equal(one.sample_sigma(5, (32, 32), "cpu"), other.sample_sigma(5, (32, 32), "cpu"))
