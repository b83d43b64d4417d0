import math

import numpy as np
import pytest
import torch

from smoothmix.corruptions.blur import DEFOCUS_BLUR, MOTION_BLUR, Defocus, Motion, disk, smear


@pytest.mark.parametrize("setting", DEFOCUS_BLUR.cifar + DEFOCUS_BLUR.imagenet)
def test_disks_are_those_of_opencv(setting):
    cv2 = pytest.importorskip("cv2")
    reach, size = (8, 3) if setting.radius <= 8 else (setting.radius, 5)
    x, y = np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1))
    expected = (x**2 + y**2 <= setting.radius**2).astype(np.float32)
    expected = cv2.GaussianBlur(expected / expected.sum(), (size, size), setting.smoothing)
    kernel = disk(*setting).numpy()
    margin = (len(expected) - len(kernel)) // 2
    np.testing.assert_allclose(np.pad(kernel, margin), expected, atol=3e-9)


@pytest.mark.parametrize("side", [32, 35])
def test_defocus_mirrors_the_image_at_its_border_without_the_last_pixel(side):
    images = torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    last = side - 1
    setting = Defocus(3, 0.1)  # an even disk of 29 pixels
    inside = [(i, j) for i in range(-3, 4) for j in range(-3, 4) if i * i + j * j <= 9]
    out = DEFOCUS_BLUR.apply(images, setting, ())
    for row, column in ((0, 0), (1, last), (16, last - 1), (13, 14)):
        mirrored = [(last - abs(last - abs(row + i)), last - abs(last - abs(column + j))) for i, j in inside]
        mean = torch.stack([images[:, :, i, j].double() for i, j in mirrored]).mean(0)
        assert (out[:, :, row, column] - mean).abs().max() <= 1


@pytest.mark.parametrize("angle", [-135.0, -90.0, -31.0, 0.0, 45.0])
def test_a_trail_is_the_sum_over_its_pixels(angle):
    images = torch.randint(0, 256, (2, 2, 9, 9), generator=torch.Generator().manual_seed(0))
    setting = Motion(4, 2.5)
    weights = [math.exp(-(i**2) / (2 * 2.5**2)) for i in range(9)]
    out = smear(images, setting, torch.tensor([0.0, angle]))[1]
    radians = math.radians(angle)
    for row in range(9):
        for column in range(9):
            total = 0
            for i, weight in enumerate(weights):
                right, down = (math.ceil(i * part - 0.5) for part in (math.cos(radians), math.sin(radians)))
                total += weight * images[1, :, min(max(row + down, 0), 8), min(max(column + right, 0), 8)]
            expected = (257 * total / sum(weights)).round() // 257
            assert torch.equal(out[:, row, column], expected)


def test_angles_fill_the_range():
    images = torch.zeros(1000, 3, 4, 4, dtype=torch.uint8)
    (angles,) = MOTION_BLUR.sample(images, Motion(6, 1), torch.Generator().manual_seed(0))
    assert angles.unique().numel() > 990
    assert -45 <= angles.min() < -44
    assert 44 < angles.max() <= 45
