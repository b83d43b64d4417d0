from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms import functional as TF

from datasets.image_augment import OPERATIONS, AugMix, Blend, Operation, draw_blend

NAMES = [
    "autocontrast", "equalize", "posterize", "rotate", "solarize", "shear_x", "shear_y", "translate_x", "translate_y"
]  # fmt: skip


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def blends() -> dict[int, list[Blend]]:
    stream = generator(1)
    return {severity: [draw_blend(severity, stream) for _ in range(2500)] for severity in (1, 3)}


def uniform(values, low, high) -> bool:
    return stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3


# ---- what is drawn


def test_the_operations_are_the_authors_nine():
    assert sorted(OPERATIONS) == sorted(NAMES)  # contrast, brightness, colour and sharpness overlap with the -C files


@pytest.mark.parametrize("severity", [1, 3])
def test_levels_are_uniform_up_to_the_severity(blends, severity):
    operations = [operation for blend in blends[severity] for chain in blend.chains for operation in chain]
    levels = np.array([operation.level for operation in operations])
    assert uniform(levels, 0.1, severity)
    counts = Counter(operation.name for operation in operations)
    assert set(counts) == set(NAMES)
    assert stats.chisquare([counts[name] for name in NAMES]).pvalue > 1e-3
    signs = [operation.sign for operation in operations]
    assert set(signs) == {-1, 1}
    assert abs(np.mean(signs)) < 4 / len(signs) ** 0.5
    # level, sign and operation do not depend on each other
    assert uniform(levels[np.array(signs) == 1], 0.1, severity)
    assert uniform(levels[[operation.name == "rotate" for operation in operations]], 0.1, severity)


def test_three_chains_of_one_to_three_operations(blends):
    assert all(len(blend.chains) == 3 for blend in blends[3])
    for place in range(3):
        depths = Counter(len(blend.chains[place]) for blend in blends[3])
        assert set(depths) == {1, 2, 3}
        assert stats.chisquare(list(depths.values())).pvalue > 1e-3
    pairs = Counter((len(blend.chains[0]), len(blend.chains[1])) for blend in blends[3])
    assert stats.chisquare(list(pairs.values())).pvalue > 1e-3
    longer = [blend.chains[0] for blend in blends[3] if len(blend.chains[0]) > 1]
    assert np.mean([first.name == second.name for first, second, *_ in longer]) == pytest.approx(1 / 9, abs=0.03)


def test_weights_are_beta_and_dirichlet(blends):
    weights = torch.stack([blend.weights for blend in blends[3]]).double().numpy()
    assert weights.shape == (2500, 4)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    m = 1 - weights[:, 0]
    assert uniform(m, 0, 1)  # Beta(1, 1)
    chains = weights[:, 1:] / m[:, None]
    for place in range(3):
        assert stats.kstest(chains[:, place], stats.beta(1, 2).cdf).pvalue > 1e-3  # a marginal of Dirichlet(1, 1, 1)
    covariance = np.cov(chains.T)
    expected = (np.eye(3) - 1 / 3) / 12  # (a0 delta_ij - 1) / (a0^2 (a0 + 1)) with a0 = 3
    np.testing.assert_allclose(covariance, expected, atol=0.005)
    assert abs(np.corrcoef(m, chains[:, 0])[0, 1]) < 0.08


# ---- what it does to the pixels


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    rng = np.random.default_rng(5)
    small = Image.fromarray(rng.integers(20, 230, (9, 9, 3), dtype=np.uint8))
    return small.resize((40, 40), Image.Resampling.BICUBIC)


def sample(pixels: np.ndarray, source) -> np.ndarray:
    """The picture at `source(x, y)` for every pixel's centre: bilinear, the border repeated, black outside."""
    size = len(pixels)
    out = np.zeros(pixels.shape)
    for j in range(size):
        for i in range(size):
            x, y = source(i + 0.5, j + 0.5)
            if not (0 <= x < size and 0 <= y < size):
                continue
            left, top = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
            u, v = x - 0.5 - left, y - 0.5 - top
            (x0, x1), (y0, y1) = (np.clip([k, k + 1], 0, size - 1) for k in (left, top))
            upper = (1 - u) * pixels[y0, x0] + u * pixels[y0, x1]
            lower = (1 - u) * pixels[y1, x0] + u * pixels[y1, x1]
            out[j, i] = (1 - v) * upper + v * lower
    return out


def moved(name, level, sign, pixels):
    if name == "rotate":
        angle = np.deg2rad(sign * int(level * 30 / 10))
        center = len(pixels) / 2

        def source(x, y):  # counter-clockwise, the y axis pointing down
            dx, dy = x - center, y - center
            cos, sin = np.cos(angle), np.sin(angle)
            return center + cos * dx - sin * dy, center + sin * dx + cos * dy

        return sample(pixels, source)
    shear, shift = sign * 0.3 * level / 10, sign * int(level * (len(pixels) / 3) / 10)
    return sample(
        pixels,
        {
            "shear_x": lambda x, y: (x + shear * y, y),
            "shear_y": lambda x, y: (x, y + shear * x),
            "translate_x": lambda x, y: (x + shift, y),
            "translate_y": lambda x, y: (x, y + shift),
        }[name],
    )


@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"])
@pytest.mark.parametrize(("level", "sign"), [(0.8, 1), (2.3, -1), (2.9, 1)])
def test_moving_operations(picture, name, level, sign):
    pixels = np.asarray(picture).astype(float)
    ours = np.asarray(Operation(name, level, sign)(picture)).astype(float)
    expected = moved(name, level, sign, pixels)
    inside = (expected > 0).all(2) & (ours > 0).all(2)
    assert inside.mean() > 0.75
    assert np.abs(ours - expected)[inside].max() <= 1
    assert ((expected > 0) == (ours > 0)).mean() > 0.99
    assert (level < 1) or not np.array_equal(ours, pixels)


@pytest.mark.parametrize(("level", "bits"), [(0.5, 4), (2.4, 4), (2.6, 3)])
def test_posterize_keeps_the_upper_bits(picture, level, bits):
    pixels = np.asarray(picture)
    assert np.array_equal(Operation("posterize", level, 1)(picture), pixels - pixels % 2 ** (8 - bits))


@pytest.mark.parametrize(("level", "threshold"), [(0.5, 244), (2.0, 205), (2.99, 180)])
def test_solarize_inverts_the_bright(picture, level, threshold):
    pixels = np.asarray(picture)
    ours = np.asarray(Operation("solarize", level, -1)(picture))
    assert np.array_equal(ours, np.where(pixels >= threshold, 255 - pixels, pixels))


def test_autocontrast_and_equalize(picture):
    pixels = np.asarray(picture).astype(float)
    low, high = pixels.min((0, 1)), pixels.max((0, 1))
    stretched = (pixels - low) * 255 / (high - low)
    assert np.abs(np.asarray(Operation("autocontrast", 1.0, 1)(picture)) - stretched).max() <= 1
    flat = TF.equalize(TF.pil_to_tensor(picture)).permute(1, 2, 0).numpy()
    assert np.array_equal(Operation("equalize", 1.0, 1)(picture), flat)


def test_a_blend_is_that_of_the_authors_on_the_same_draws(picture):
    """Mean and standard deviation first, then m and w, one image after the other."""
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    augmix, seed = AugMix(severity=3), 12

    def preprocess(image):
        return TF.normalize(TF.to_tensor(image).double(), mean, std)

    columns = [tensor[None] for tensor in augmix(picture, seed)]
    got = TF.normalize(augmix.to_float(*columns), mean, std)
    stream, expected = generator(seed), [preprocess(picture)]
    for _ in range(2):
        weights, chains = draw_blend(3, stream)
        m = 1 - weights[0].item()
        mixed = torch.zeros(3, 40, 40, dtype=torch.float64)
        for weight, chain in zip(weights[1:].tolist(), chains, strict=True):
            image = picture.copy()
            for name, level, sign in chain:
                image = OPERATIONS[name](image, level, sign)
            mixed += weight / m * preprocess(image)
        expected.append((1 - m) * expected[0] + m * mixed)
    torch.testing.assert_close(got.double(), torch.stack(expected), rtol=0, atol=1e-5)
    assert (got[1] - got[0]).abs().mean() > 0.01
    assert (got[2] - got[1]).abs().mean() > 0.01


def test_views_of_a_batch_are_those_of_its_images():
    rng = np.random.default_rng(0)
    augmix = AugMix(severity=1)
    items = [augmix(Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)), seed) for seed in range(5)]
    together = augmix.to_float(*(torch.stack(column) for column in zip(*items, strict=True)))
    for i, item in enumerate(items):
        assert torch.equal(together[i::5], augmix.to_float(*(tensor[None] for tensor in item)))
    assert together.is_contiguous(memory_format=torch.channels_last)
    assert together.min() >= 0
    assert together.max() <= 1 + 1e-6


def test_severity_reaches_the_pixels(picture):
    def distance(severity):
        views = AugMix(severity)
        makes = [views.to_float(*(tensor[None] for tensor in views(picture, seed))) for seed in range(40)]
        return np.mean([(made[1:] - made[:1]).abs().mean().item() for made in makes])

    assert distance(9) > 1.3 * distance(1)
