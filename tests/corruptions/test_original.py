"""Every corruption against the original code, on images drawn by formula.

`drawn_cifar.npz` and `drawn_imagenet.npz` hold clean images, and what the functions of hendrycks/robustness (commit
8190fe3) made of them, unmodified. NumPy's generator was seeded anew for each corruption and severity, so its draws can
be replayed here. Of the images of 224 pixels every seventh pixel from the fourth on is kept.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from smoothmix.corruptions import CORRUPTIONS, apply, corrupt
from smoothmix.corruptions.corruption import no_draws
from tests.corruptions.test_frost import SIZES

ORDER = [
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
    "speckle_noise", "gaussian_blur", "spatter", "saturate",
]  # fmt: skip
BASE_SEED = {"cifar": 1000, "imagenet": 3000}
KEPT = {"cifar": (..., slice(None), slice(None)), "imagenet": (..., slice(3, None, 7), slice(3, None, 7))}
BENCHMARKS = pytest.mark.parametrize("benchmark", ["cifar", "imagenet"])


@cache
def drawn(benchmark):
    """The clean images, uint8 (N, 3, S, S), and by name the corrupted ones, uint8 (5, N, 3, 32, 32)."""
    with np.load(Path(__file__).parent / f"drawn_{benchmark}.npz") as arrays:
        images = {name: torch.from_numpy(np.moveaxis(array, -1, -3).copy()) for name, array in arrays.items()}
    return images.pop("clean"), images


def values(numbers):
    """Numbers (S, S, 3) of the original as a tensor (3, S, S)."""
    return torch.from_numpy(np.moveaxis(numbers, -1, 0).copy()).float()


def photons(random, image, setting):
    return (values(random.poisson(image / 255.0 * setting)),)


def impulses(random, image, setting):
    """scikit-image draws which values change, then which of those turn white, with a generator of its own."""
    own = np.random.default_rng(random.randint(0, 2**31 - 1))
    changed, white = own.random(image.shape) <= setting, own.random(image.shape) <= 0.5
    return (values(np.where(changed, np.where(white, 0.75, 0.25) * setting, 1)),)


def normals(random, image, setting):
    return (values(random.standard_normal(image.shape)),)


def copies(random, image, setting):
    written = len(image) - 2 * setting.distance
    shape = (setting.passes, written, written, 2)  # drawn at once or pair by pair, the numbers are the same
    return (torch.from_numpy(random.randint(-setting.distance, setting.distance, shape)),)


def angle(random, image, setting):
    return (torch.tensor(random.uniform(-45, 45), dtype=torch.float64),)


def flakes(random, image, setting):
    noise = torch.from_numpy(random.standard_normal(image.shape[:2])).float()
    return noise, torch.tensor(random.uniform(-135, -45), dtype=torch.float64)


def photograph(random, image, setting):
    which = random.randint(5)
    height, width = SIZES["cifar" if len(image) == 32 else "imagenet"][which]
    row, column = random.randint(0, height - len(image)), random.randint(0, width - len(image))
    return torch.tensor(which), torch.tensor(row), torch.tensor(column)


def kicks(random, image, setting):
    """Finer and finer, centres, then row and column midpoints."""
    size = 1 << (len(image) - 1).bit_length()
    cloud, step = np.zeros((size, size)), size
    while step > 1:
        half = step // 2
        for row, column in ((half, half), (0, half), (half, 0)):
            cloud[row::step, column::step] = random.uniform(-1, 1, (size // step, size // step))
        step = half
    return (torch.from_numpy(cloud).float(),)


def layer(random, image, setting):
    return (torch.from_numpy(random.normal(size=image.shape[:2])),)


def displacements(random, image, setting):
    points = random.uniform(-1, 1, (3, 2))
    return torch.from_numpy(points), torch.from_numpy(random.uniform(-1, 1, (2, *image.shape[:2])))


REPLAY = {
    "gaussian_noise": normals,
    "shot_noise": photons,
    "impulse_noise": impulses,
    "speckle_noise": normals,
    "glass_blur": copies,
    "motion_blur": angle,
    "snow": flakes,
    "frost": photograph,
    "fog": kicks,
    "spatter": layer,
    "elastic_transform": displacements,
}
# The largest difference in grey levels; the least share of equal values on the textured image; and on all images: on
# even areas and ramps many a sum is a whole grey level, on either side of which rounding and truncation may put it.
# Corruptions that are not listed are equal.
BOUNDS = {
    "gaussian_noise": (1, 0.9999, 0.9998),
    "shot_noise": (1, 0.9999, 0.9998),
    "impulse_noise": (1, 0.9999, 0.9998),
    "speckle_noise": (1, 0.9999, 0.9998),
    "defocus_blur": (1, 0.98, 0.85),
    "gaussian_blur": (1, 0.98, 0.92),
    "zoom_blur": (1, 0.98, 0.97),
    "motion_blur": (1, 0.9999, 0.9998),
    "snow": (1, 0.999, 0.999),
    "fog": (1, 0.999, 0.999),
    "spatter": (1, 0.999, 0.999),
    "contrast": (1, 0.998, 0.998),  # the rounding of the mean decides a few values
    "elastic_transform": (1, 0.99, 0.93),
}


@BENCHMARKS
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_original_s_draws_give_its_images(name, severity, benchmark):
    clean, corrupted = drawn(benchmark)
    random = np.random.RandomState(BASE_SEED[benchmark] + 10 * ORDER.index(name) + severity)
    setting = getattr(CORRUPTIONS[name], benchmark)[severity - 1]
    draws = ()
    if name in REPLAY:
        each = [REPLAY[name](random, np.moveaxis(image, 0, -1), setting) for image in clean.numpy()]
        draws = tuple(torch.stack(numbers) for numbers in zip(*each, strict=True))
    found = apply(clean, name, severity, benchmark, draws)[KEPT[benchmark]]
    difference = found.int() - corrupted[name][severity - 1]
    largest, on_texture, on_all = BOUNDS.get(name, (0, 1, 1))
    assert difference.abs().max() <= largest
    assert (difference[-1] == 0).double().mean() >= on_texture
    assert (difference == 0).double().mean() >= on_all


def test_every_random_corruption_is_replayed():
    assert REPLAY.keys() == {name for name, corruption in CORRUPTIONS.items() if corruption.sample is not no_draws}


def strength(clean, corrupted, benchmark):
    """The mean absolute difference, the root of the mean square and the mean."""
    difference = corrupted.double() - clean[KEPT[benchmark]]
    return torch.stack([difference.abs().mean(), difference.square().mean().sqrt(), difference.mean()])


@BENCHMARKS
@pytest.mark.parametrize("name", REPLAY)
def test_own_draws_are_as_strong_as_the_original_s(name, benchmark):
    clean, corrupted = drawn(benchmark)
    runs = []
    for seed in range(20):
        found = corrupt(clean, name, 3, benchmark, torch.Generator().manual_seed(seed), save_as_jpeg=False)
        runs.append(strength(clean, found[KEPT[benchmark]], benchmark))
    ours, theirs = torch.stack(runs), strength(clean, corrupted[name][2], benchmark)
    # one run of the original is one draw from the distribution that ours show
    assert ((ours.mean(0) - theirs).abs() < torch.maximum(0.03 * theirs.abs(), 4 * ours.std(0))).all()
