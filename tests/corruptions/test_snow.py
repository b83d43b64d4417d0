import numpy as np
import pytest
import torch

from smoothmix.corruptions.snow import SNOW


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("benchmark", ["cifar", "imagenet"])
def test_the_original_s_draws_give_its_images(reference, benchmark, severity):
    reference = reference(benchmark)
    setting = getattr(SNOW, benchmark)[severity - 1]
    random = reference.random_state("snow", severity)
    side = reference.clean.shape[-1]
    drawn = [(random.standard_normal((side, side)), random.uniform(-135, -45)) for _ in reference.clean]
    noise = torch.from_numpy(np.stack([noise for noise, _ in drawn])).float()
    angles = torch.tensor([angle for _, angle in drawn], dtype=torch.float64)
    error = SNOW.apply(reference.clean, setting, (noise, angles)).int() - reference.corrupted("snow", severity)
    assert (error.abs() <= 1).float().mean() > 0.999
    assert (error == 0).float().mean() > 0.999


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("benchmark", ["cifar", "imagenet"])
def test_own_draws_are_as_strong_as_the_original_s(reference, benchmark, severity):
    reference = reference(benchmark)
    setting = getattr(SNOW, benchmark)[severity - 1]
    runs = []
    for seed in range(6):
        draws = SNOW.sample(reference.clean, setting, torch.Generator().manual_seed(seed))
        change = SNOW.apply(reference.clean, setting, draws).double() - reference.clean
        runs.append(torch.stack([change.abs().mean(), change.square().mean().sqrt(), change.mean()]))
    runs = torch.stack(runs)
    change = reference.corrupted("snow", severity).double() - reference.clean
    theirs = torch.stack([change.abs().mean(), change.square().mean().sqrt(), change.mean()])
    assert ((runs.mean(0) - theirs).abs() < torch.maximum(0.03 * theirs.abs(), 4 * runs.std(0))).all()


def test_flakes_fall_on_both_halves_alike():
    images = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    draws = SNOW.sample(images, SNOW.cifar[3], torch.Generator().manual_seed(0))
    out = SNOW.apply(images, SNOW.cifar[3], draws)
    assert torch.equal(out, out.flip(2, 3))
    assert torch.equal(out[:, 0], out[:, 1])


def test_snow_follows_the_seed_and_differs_between_images():
    images = torch.full((3, 3, 32, 32), 100, dtype=torch.uint8)

    def run(seed):
        draws = SNOW.sample(images, SNOW.cifar[2], torch.Generator().manual_seed(seed))
        return SNOW.apply(images, SNOW.cifar[2], draws)

    out = run(0)
    assert out.dtype == torch.uint8
    assert torch.equal(out, run(0))
    assert not torch.equal(out, run(1))
    assert not torch.equal(out[0], out[1])
    assert (images == 100).all()
