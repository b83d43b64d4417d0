import torch

from smoothmix.corruptions.noise import IMPULSE_NOISE


def test_impulses_are_half_white_and_half_black():
    images = torch.full((64, 3, 32, 32), 128, dtype=torch.uint8)
    (uniform,) = IMPULSE_NOISE.sample(images, 0.27, torch.Generator().manual_seed(0))
    out = IMPULSE_NOISE.apply(images, 0.27, (uniform,))
    assert abs((out == 255).float().mean() - 0.135) < 0.004
    assert abs((out == 0).float().mean() - 0.135) < 0.004
