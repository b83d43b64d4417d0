import torch

from smoothmix.corruptions.snow import SNOW


def test_flakes_fall_on_both_halves_alike():
    images = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    draws = SNOW.sample(images, SNOW.cifar[3], torch.Generator().manual_seed(0))
    out = SNOW.apply(images, SNOW.cifar[3], draws)
    assert torch.equal(out, out.flip(2, 3))
    assert torch.equal(out[:, 0], out[:, 1])
