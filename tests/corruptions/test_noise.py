import torch

from smoothmix.corruptions.noise import IMPULSE_NOISE, SHOT_NOISE


def test_impulses_are_half_white_and_half_black():
    images = torch.full((64, 3, 32, 32), 128, dtype=torch.uint8)
    (uniform,) = IMPULSE_NOISE.sample(images, 0.27, torch.Generator().manual_seed(0))
    out = IMPULSE_NOISE.apply(images, 0.27, (uniform,))
    assert abs((out == 255).float().mean() - 0.135) < 0.004
    assert abs((out == 0).float().mean() - 0.135) < 0.004


def test_the_photons_of_a_pixel_are_as_many_as_its_brightness_says():
    images = torch.tensor([51, 255], dtype=torch.uint8).view(2, 1, 1, 1).repeat(1, 3, 300, 300)
    (counts,) = SHOT_NOISE.sample(images, 60.0, torch.Generator().manual_seed(0))
    for of_image, mean in zip(counts, (12, 60), strict=True):  # a Poisson variable's variance is its mean
        assert abs(of_image.mean() - mean) < 5 * (mean / of_image.numel()) ** 0.5
        assert abs(of_image.var() / mean - 1) < 0.02
