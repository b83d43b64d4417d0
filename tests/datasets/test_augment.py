import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as TF

from datasets import augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=generator(seed))


def drawn_colors(n, seed):
    """Order, factors and alphas of n images."""
    stream = generator(seed)
    draws = [augment.draw_color(0.4, 0.1, stream) for _ in range(n)]
    return [torch.stack(column) for column in zip(*draws, strict=True)]


def test_every_offset_and_both_flips_are_equally_likely():
    n = 40_000
    offsets, flips = augment.draw_crop_flip(n, padding=4, flip=True, generator=generator())
    cell = offsets[:, 0] * 18 + offsets[:, 1] * 2 + flips
    counts = torch.bincount(cell, minlength=162).double()
    assert counts.shape == (162,)
    expected = n / 162
    chi2 = ((counts - expected) ** 2 / expected).sum().item()
    # 161 degrees of freedom: mean 161, standard deviation 17.9
    assert 161 - 4 * 17.9 < chi2 < 161 + 4 * 17.9


def test_no_flips_where_none_are_wanted():
    offsets, flips = augment.draw_crop_flip(1000, padding=2, flip=False, generator=generator())
    assert not flips.any()
    assert sorted(offsets.unique().tolist()) == [0, 1, 2, 3, 4]


def test_crop_flip_is_pad_crop_hflip_of_each_image(pictures):
    padding, size = 4, 32
    images = torch.from_numpy(pictures(20))
    padded = torch.nn.functional.pad(images, (0, 0, padding, padding, padding, padding))
    index = torch.randint(0, 20, (64,), generator=generator(1))
    offsets, flips = augment.draw_crop_flip(64, padding, True, generator(2))
    got = augment.crop_flip(padded, index, offsets, flips, size)

    assert got.dtype == torch.uint8
    assert got.is_contiguous(memory_format=torch.channels_last)
    for k in range(64):
        top, left = offsets[k].tolist()
        # torchvision on the same numbers
        image = TF.crop(TF.pad(images[index[k]].permute(2, 0, 1), padding), top, left, size, size)
        image = TF.hflip(image) if flips[k] else image
        assert torch.equal(got[k], image)
    # and one image by plain indexing
    k = int(flips.nonzero()[0])
    top, left = offsets[k].tolist()
    for y in range(size):
        for x in range(size):
            row, column = top + y - padding, left + (size - 1 - x) - padding
            inside = 0 <= row < 32 and 0 <= column < 32
            assert got[k, :, y, x].tolist() == (images[index[k], row, column].tolist() if inside else [0, 0, 0])


def test_resized_crop_has_the_law_of_torchvision():
    n, height, width = 6000, 300, 400
    scale, ratio = (0.08, 1.0), (3 / 4, 4 / 3)
    stream = generator()
    ours = np.array([augment.draw_resized_crop(height, width, scale, ratio, stream) for _ in range(n)], dtype=float)
    torch.manual_seed(1)
    image = Image.new("RGB", (width, height))
    theirs = np.array([RandomResizedCrop.get_params(image, scale, ratio) for _ in range(n)], dtype=float)

    def statistics(boxes):
        top, left, h, w = boxes.T
        free_y, free_x = np.maximum(height - h, 1), np.maximum(width - w, 1)
        return np.stack([h * w / (height * width), np.log(w / h), top / free_y, left / free_x, h, w, top * left])

    a, b = statistics(ours), statistics(theirs)
    for moment in (1, 2):
        x, y = a**moment, b**moment
        error = np.sqrt((x.var(axis=1) + y.var(axis=1)) / n)
        assert (np.abs(x.mean(axis=1) - y.mean(axis=1)) < 4 * error).all()
    # the empirical distributions themselves (Kolmogorov-Smirnov, alpha about 1e-4)
    for x, y in zip(a, b, strict=True):
        grid = np.sort(np.concatenate([x, y]))
        cdf = [np.searchsorted(np.sort(v), grid, side="right") / n for v in (x, y)]
        assert np.abs(cdf[0] - cdf[1]).max() < 2.2 * math.sqrt(2 / n)


def test_resized_crop_bounds():
    stream = generator(5)
    for _ in range(500):
        top, left, h, w = augment.draw_resized_crop(37, 61, (0.08, 1.0), (3 / 4, 4 / 3), stream)
        assert 0 <= top <= 37 - h
        assert 0 <= left <= 61 - w
        assert 0.07 < h * w / (37 * 61) <= 1


@pytest.mark.parametrize("size", [(10, 400), (400, 10), (100, 100)])
def test_resized_crop_fallback_is_that_of_torchvision(size):
    height, width = size
    # No box of 1.5 to 2 times the area fits: all ten tries fail.
    ours = augment.draw_resized_crop(height, width, (1.5, 2.0), (3 / 4, 4 / 3), generator())
    theirs = RandomResizedCrop.get_params(Image.new("RGB", (width, height)), (1.5, 2.0), (3 / 4, 4 / 3))
    assert ours == tuple(theirs)


def test_draw_color_law():
    order, factors, alphas = drawn_colors(3000, 3)
    # six orders, each 500 times: standard deviation 20.4
    counts = (order * torch.tensor([9, 3, 1])).sum(1).unique(return_counts=True)[1]
    assert counts.shape == (6,)
    assert (counts - 500).abs().max() < 4 * 20.4
    assert 0.6 <= factors.min() < 0.61
    assert 1.39 < factors.max() <= 1.4
    assert factors.mean(0).tolist() == pytest.approx([1, 1, 1], abs=4 * 0.8 / math.sqrt(12 * 3000))
    assert alphas.mean(0).tolist() == pytest.approx([0, 0, 0], abs=4 * 0.1 / math.sqrt(3000))
    assert alphas.std(0).tolist() == pytest.approx([0.1] * 3, rel=0.06)
    # independent of each other
    assert torch.corrcoef(torch.cat([factors, alphas], 1).T).sub(torch.eye(6)).abs().max() < 4 / math.sqrt(3000)


IDENTITY = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def color_jitter(images, order, factors):
    return augment.recolor(images, order, factors, torch.zeros(len(images), 3), *IDENTITY)


def lighting(images, alphas):
    order = torch.arange(3).expand(len(images), 3)
    return augment.recolor(images, order, torch.ones(len(images), 3), alphas, *IDENTITY)


def slow_color_jitter(image, order, factors):
    image = image.double().numpy().copy()
    for operation in order.tolist():
        f = factors[operation].item()
        grey = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
        for y in range(image.shape[1]):
            for x in range(image.shape[2]):
                reference = (0.0, grey.mean(), grey[y, x])[operation]
                image[:, y, x] = f * image[:, y, x] + (1 - f) * reference
    return image


@pytest.mark.parametrize(
    ("operation", "reference"),
    [(0, TF.adjust_brightness), (1, TF.adjust_contrast), (2, TF.adjust_saturation)],
)
def test_each_operation_is_that_of_torchvision(operation, reference):
    images = 0.35 + 0.3 * rand(5, 3, 8, 8)  # so that nothing reaches 0 or 1, where torchvision clamps
    factors = torch.ones(5, 3)
    factors[:, operation] = torch.tensor([0.6, 0.8, 1.0, 1.2, 1.4])
    order = torch.stack([torch.tensor([operation, *({0, 1, 2} - {operation})])] * 5)
    got = color_jitter(images, order, factors)
    for k in range(5):
        expected = reference(images[k], factors[k, operation].item())
        # torchvision's grey uses .2989 for .299: 1e-4 of the red value
        torch.testing.assert_close(got[k], expected, rtol=0, atol=1e-4)
    assert (got[0] - images[0]).abs().max() > 0.01


def test_recolor_is_jitter_then_lighting_then_normalize_and_keeps_channels_last():
    images = rand(12, 3, 8, 6).to(memory_format=torch.channels_last)
    order, factors, alphas = drawn_colors(12, 6)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    before = images.clone()
    got = augment.recolor(images, order, factors, alphas, mean, std)
    assert torch.equal(images, before)
    assert got.is_contiguous(memory_format=torch.channels_last)
    vectors, values = np.array(augment.EIGENVECTORS), np.array(augment.EIGENVALUES)
    for k in range(12):
        shift = vectors @ (values * alphas[k].numpy())
        expected = slow_color_jitter(images[k], order[k], factors[k]) + shift[:, None, None]
        expected = (expected - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
        np.testing.assert_allclose(got[k].numpy(), expected, rtol=0, atol=5e-6)
    plain = augment.normalize(images, mean, std)
    assert plain.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain, augment.normalize(images.contiguous(), mean, std))


def test_lighting_closed_form():
    images = rand(3, 3, 4, 5)
    alphas = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0.05, -0.2, 0.3]])
    got = lighting(images, alphas) - images
    vectors = np.array(augment.EIGENVECTORS)
    for k in range(3):
        shift = vectors @ (np.array(augment.EIGENVALUES) * alphas[k].numpy())
        np.testing.assert_allclose(got[k].numpy(), np.broadcast_to(shift[:, None, None], (3, 4, 5)), atol=1e-6)
    # the first component is nearly grey, and its sign is that of the source
    assert got[1, :, 0, 0].tolist() == pytest.approx([0.02175 * v for v in (-0.5675, -0.5808, -0.5836)], abs=1e-6)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-3)


def test_normalize_numbers():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    images = augment.to_float(pixels)
    assert images.flatten().tolist() == pytest.approx([0.0, 0.2, 1.0])
    got = augment.normalize(images, (0.1, 0.4, 0.5), (0.5, 0.1, 0.25))
    assert got.flatten().tolist() == pytest.approx([-0.2, -2.0, 2.0])
    assert torch.equal(got[0], TF.normalize(images[0], [0.1, 0.4, 0.5], [0.5, 0.1, 0.25]))


def test_constants_first_used_without_gradients_serve_training_too():
    with torch.inference_mode():
        augment.normalize(rand(1, 3, 2, 2), (0.11, 0.12, 0.13), (0.21, 0.22, 0.23))
    images = rand(1, 3, 2, 2).requires_grad_()
    augment.normalize(images, (0.11, 0.12, 0.13), (0.21, 0.22, 0.23)).sum().backward()
    assert images.grad[0, :, 0, 0].tolist() == pytest.approx([1 / 0.21, 1 / 0.22, 1 / 0.23])


def test_the_surroundings_of_a_call_change_nothing(surroundings):
    def everything():
        boxes = augment.draw_resized_crop(50, 40, (0.08, 1), (3 / 4, 4 / 3), generator(3))
        images = augment.to_float(pixels)
        order, factors, alphas = drawn_colors(4, 0)
        mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
        colored = augment.recolor(images, order, factors, alphas, mean, std)
        boxes = torch.tensor(boxes, device="cpu")
        return [boxes, factors, alphas, images, colored, augment.normalize(images, mean, std)]

    pixels = (255 * rand(4, 3, 8, 8)).byte()
    expected = everything()
    with surroundings():
        found = everything()
    assert [(a.dtype, a.tolist()) for a in found] == [(a.dtype, a.tolist()) for a in expected]
