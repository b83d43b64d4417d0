import torch

from smoothmix.corruptions.snow import SNOW


def test_flakes_fall_on_both_halves_alike():
    images = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    draws = SNOW.sample(images, SNOW.cifar[3], torch.Generator().manual_seed(0))
    out = SNOW.apply(images, SNOW.cifar[3], draws)
    assert torch.equal(out, out.flip(2, 3))
    assert torch.equal(out[:, 0], out[:, 1])


def test_the_angle_of_the_motion_is_uniform():
    """The original code draws it from U(-135, -45) degrees."""
    _, angle = SNOW.sample(torch.zeros(20_000, 3, 1, 1), SNOW.cifar[3], torch.Generator().manual_seed(0))
    assert -135 <= angle.min() < -134.9
    assert -45.1 < angle.max() <= -45
    assert abs(angle.mean() + 90) < 5 * 90 / (12 * 20_000) ** 0.5
