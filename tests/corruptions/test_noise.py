import numpy as np
import pytest
import torch

from smoothmix.corruptions.noise import GAUSSIAN_NOISE, IMPULSE_NOISE, SHOT_NOISE, SPECKLE_NOISE

NOISES = {
    "gaussian_noise": GAUSSIAN_NOISE,
    "shot_noise": SHOT_NOISE,
    "impulse_noise": IMPULSE_NOISE,
    "speckle_noise": SPECKLE_NOISE,
}


def original_draw(name, random, image, setting):
    """Return the draws of the original for one image (S, S, 3) in 0..255, as `apply` takes them."""
    if name == "shot_noise":
        return random.poisson(image / 255.0 * setting)
    if name == "impulse_noise":  # scikit-image: which values change, then which of those turn white
        own = np.random.default_rng(random.randint(0, 2**31 - 1))
        changed, white = own.random(image.shape) <= setting, own.random(image.shape) <= 0.5
        return np.where(changed, np.where(white, 0.75, 0.25) * setting, 1)
    return random.standard_normal(image.shape)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("benchmark", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", NOISES)
def test_the_original_s_draws_give_its_images(reference, name, benchmark, severity):
    reference = reference(benchmark)
    setting = getattr(NOISES[name], benchmark)[severity - 1]
    random = reference.random_state(name, severity)
    images = reference.clean.permute(0, 2, 3, 1).numpy()
    drawn = np.stack([original_draw(name, random, image, setting) for image in images])
    draws = (torch.from_numpy(drawn).float().permute(0, 3, 1, 2),)
    error = NOISES[name].apply(reference.clean, setting, draws).int() - reference.corrupted(name, severity)
    assert error.abs().max() <= 1
    assert (error == 0).float().mean() > 0.9999


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("benchmark", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", NOISES)
def test_own_draws_are_as_strong_as_the_original_s(reference, name, benchmark, severity):
    reference = reference(benchmark)
    noise, clean = NOISES[name], reference.clean
    setting = getattr(noise, benchmark)[severity - 1]
    ours = torch.stack([change(clean, noise.apply(clean, setting, draws)) for draws in several(noise, clean, setting)])
    theirs = change(clean, reference.corrupted(name, severity))
    assert ((ours.mean(0) - theirs).abs() < torch.maximum(0.03 * theirs.abs(), 4 * ours.std(0))).all()


def several(noise, clean, setting):
    return [noise.sample(clean, setting, torch.Generator().manual_seed(seed)) for seed in range(6)]


def change(clean, corrupted):
    """Return the mean absolute difference, the root of the mean square and the mean."""
    difference = corrupted.double() - clean
    return torch.stack([difference.abs().mean(), difference.square().mean().sqrt(), difference.mean()])


def test_impulses_are_half_white_and_half_black():
    images = torch.full((64, 3, 32, 32), 128, dtype=torch.uint8)
    (uniform,) = IMPULSE_NOISE.sample(images, 0.27, torch.Generator().manual_seed(0))
    out = IMPULSE_NOISE.apply(images, 0.27, (uniform,))
    assert abs((out == 255).float().mean() - 0.135) < 0.004
    assert abs((out == 0).float().mean() - 0.135) < 0.004


@pytest.mark.parametrize("name", NOISES)
def test_draws_follow_the_seed_and_differ_between_images(name):
    noise = NOISES[name]
    images = torch.randint(0, 256, (1, 3, 32, 32), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    images = images.repeat(4, 1, 1, 1)
    before = images.clone()

    def run(seed):
        draws = noise.sample(images, noise.cifar[4], torch.Generator().manual_seed(seed))
        return noise.apply(images, noise.cifar[4], draws)

    out = run(0)
    assert out.dtype == torch.uint8
    assert torch.equal(out, run(0))
    assert not torch.equal(out, run(1))
    assert not torch.equal(out[0], out[1])
    assert torch.equal(images, before)
