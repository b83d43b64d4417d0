import colorsys

import pytest
import torch

from smoothmix.corruptions.colour import BRIGHTNESS, CONTRAST, SATURATE


@pytest.fixture
def pixels():
    """Random colours, among them greys, black, white and ties of two channels."""
    images = torch.randint(0, 256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    images[0, :, 0] = images[0, :1, 0]
    images[0, :, 1, 0], images[0, :, 1, 1] = 0, 255
    images[1, 1, 0], images[1, 2, 1], images[1, 0, 2] = images[1, 0, 0], images[1, 1, 1], images[1, 2, 2]
    return images


def with_colorsys(images, change):
    corrupted = torch.empty(images.shape)
    for image, result in zip(images, corrupted, strict=True):
        for row in range(image.shape[1]):
            for column in range(image.shape[2]):
                hue, saturation, value = colorsys.rgb_to_hsv(*(image[:, row, column].double() / 255).tolist())
                saturation, value = (min(max(part, 0), 1) for part in change(saturation, value))
                result[:, row, column] = torch.tensor(colorsys.hsv_to_rgb(hue, saturation, value)) * 255
    return corrupted


@pytest.mark.parametrize("amount", [0.05, 0.5])
def test_brightness_raises_v(pixels, amount):
    expected = with_colorsys(pixels, lambda saturation, value: (saturation, value + amount))
    torch.testing.assert_close(BRIGHTNESS.apply(pixels, amount, ()).float(), expected - 0.5, atol=0.51, rtol=0)


@pytest.mark.parametrize("setting", [(0.1, 0.0), (1.5, 0.0), (5.0, 0.1)])
def test_saturate_scales_s_and_adds_to_it(pixels, setting):
    expected = with_colorsys(pixels, lambda saturation, value: (saturation * setting[0] + setting[1], value))
    difference = expected - SATURATE.apply(pixels, setting, ())
    assert difference.min() > -0.01
    assert difference.max() < 1.01  # the cast truncates


def test_saturate_turns_grey_into_red():
    grey = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    corrupted = SATURATE.apply(grey, (20.0, 0.2), ())
    assert corrupted[0, :, 0, 0].tolist() == [100, 80, 80]


def test_contrast_keeps_the_mean_of_each_channel():
    images = torch.tensor([0, 200], dtype=torch.uint8).repeat(2, 3, 4, 2)
    images[1, 2] = 40
    corrupted = CONTRAST.apply(images, 0.25, ())
    torch.testing.assert_close(
        corrupted[0, :, :, :2].float(), torch.tensor([75.0, 125.0]).expand(3, 4, 2), atol=1, rtol=0
    )
    torch.testing.assert_close(corrupted[1, 2].float(), torch.full((4, 4), 40.0), atol=1, rtol=0)
