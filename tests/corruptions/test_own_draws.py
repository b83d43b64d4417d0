"""Random corruptions with torch's own draws: reproducible, one for each image, and as strong as the original's."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smoothmix.corruptions.elastic import ELASTIC_TRANSFORM
from smoothmix.corruptions.fog import FOG
from smoothmix.corruptions.frost import FROST
from smoothmix.corruptions.spatter import SPATTER

SHARED = Path(__file__).resolve().parents[3] / "shared"
needs_photographs = pytest.mark.skipif(
    importlib.util.find_spec("imagecorruptions") is None, reason="needs the photographs of frost"
)
NAMES = ["elastic_transform", "fog", pytest.param("frost", marks=needs_photographs), "spatter"]
CORRUPTIONS = {"elastic_transform": ELASTIC_TRANSFORM, "fog": FOG, "frost": FROST, "spatter": SPATTER}


def corrupted(corruption, images, setting, seed):
    draws = corruption.sample(images, setting, torch.Generator().manual_seed(seed))
    return corruption.apply(images, setting, draws)


@pytest.mark.parametrize(("benchmark", "side"), [("cifar", 32), ("imagenet", 224)])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("severity", [1, 4])
def test_draws_come_from_the_generator_alone(benchmark, side, name, severity):
    corruption = CORRUPTIONS[name]
    setting = getattr(corruption, benchmark)[severity - 1]
    image = torch.randint(0, 256, (1, 3, side, side), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    images = image.repeat(3, 1, 1, 1)
    before = images.clone()
    first = corrupted(corruption, images, setting, seed=0)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert torch.equal(corrupted(corruption, images, setting, seed=0), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, before)
    assert first.dtype == torch.uint8
    assert first.shape == images.shape
    assert (corrupted(corruption, images, setting, seed=1) != first).flatten(1).any(1).all()
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(first[one], first[other])


def strengths(images, results):
    """Return mean absolute difference, root of the mean square (mean over images) and mean shift."""
    difference = results.double() - images
    rmse = difference.square().mean((1, 2, 3)).sqrt().mean()
    return torch.stack((difference.abs().mean(), rmse, difference.mean()))


@pytest.fixture(scope="module")
def test_set():
    """The 512 images of CIFAR-100 behind the original's statistics: rows 1000 to 1511, 100 images a class."""
    strips = sorted((SHARED / "data" / "cifar100" / "test").glob("*.webp"))[10:16]
    if not strips:
        pytest.skip("needs the images in ../shared/data")
    images = np.concatenate([np.array(Image.open(strip).convert("RGB")).reshape(-1, 32, 32, 3) for strip in strips])
    return torch.from_numpy(images[:512]).permute(0, 3, 1, 2).contiguous()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_as_strong_as_the_original_on_cifar(test_set, name, severity):
    statistics = json.loads((SHARED / "corruptions" / "stochastic_stats.json").read_text())["cifar"]["stats"]
    measured = [statistics[name][str(severity)][quantity] for quantity in ("mad", "rmse", "mean_shift")]
    expected = torch.tensor([quantity["mean_per_seed"] for quantity in measured], dtype=torch.float64)
    setting = CORRUPTIONS[name].cifar[severity - 1]
    found = [strengths(test_set, corrupted(CORRUPTIONS[name], test_set, setting, seed)) for seed in range(5)]
    found = torch.stack(found, 1)
    spread = torch.maximum(expected.std(1), found.std(1)) * (1 / 3 + 1 / 5) ** 0.5
    allowed = torch.maximum(0.03 * expected.mean(1).abs(), 3 * spread)
    assert ((found.mean(1) - expected.mean(1)).abs() <= allowed).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_as_strong_as_the_original_on_imagenet(reference, name, severity):
    reference = reference("imagenet")
    expected = strengths(reference.clean, reference.corrupted(name, severity))
    setting = CORRUPTIONS[name].imagenet[severity - 1]
    found = [strengths(reference.clean, corrupted(CORRUPTIONS[name], reference.clean, setting, s)) for s in range(12)]
    found = torch.stack(found, 1)
    # One run on four images: it is one draw from the distribution that the twelve runs show.
    allowed = torch.maximum(0.03 * found.mean(1).abs(), 4 * found.std(1))
    assert ((found.mean(1) - expected).abs() <= allowed).all()
