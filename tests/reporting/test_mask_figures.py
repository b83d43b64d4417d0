import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smoothmix import Cutout, Identity
from smoothmix.reporting.mask_figures import gallery, gallery_masks, mixed_batch, mixing_examples, overview

FIGURES = Path(__file__).parents[2] / "results" / "figures"


def two_images():
    return torch.stack([torch.full((3, 32, 32), 0.25), torch.full((3, 32, 32), 0.75)])


def test_the_weight_of_a_label_is_its_images_share_in_the_picture():
    examples = {example.method: example for example in mixing_examples(two_images())}
    assert list(examples) == ["cutout", "mixup", "cutmix", "smoothmix_s", "smoothmix_c"]
    for method, (_, mask, image, weights) in examples.items():
        if method == "cutout":
            assert weights == (1, 0)
            assert (image == 0).float().mean() == 0.25
            continue
        assert sum(weights) == pytest.approx(1)
        share = (0.75 - image.mean().item()) / 0.5  # the two images are flat
        assert share == pytest.approx(weights[0], abs=1e-6)
        assert share == pytest.approx(mask.mean().item(), abs=1e-6)
        torch.testing.assert_close(image[0], 0.75 - 0.5 * mask)


def test_the_gallery_shows_the_equations():
    masks = dict(gallery_masks(64))
    assert len(masks) == 8
    x = (torch.arange(64) + 0.5) / 64 - 0.5
    gaussian = torch.exp(-0.5 * (x / 0.375) ** 2)
    torch.testing.assert_close(masks["C\n$\\sigma$ = 0.375"], gaussian[:, None] * gaussian)
    ramp = (0.5 + (0.25 - x.abs()) / (2 * 0.2 * 0.5)).clamp(0, 1)
    torch.testing.assert_close(masks["S\n$\\sigma$ = 0.5"], ramp[:, None] * ramp)


def test_a_profile_is_the_middle_row_of_its_mask():
    figure = gallery(side=64)
    profiles = [axes.lines[0].get_ydata() for axes in figure.axes if axes.lines]
    for profile, (_, mask) in zip(profiles, gallery_masks(64), strict=True):
        torch.testing.assert_close(torch.as_tensor(profile), mask[32])


def test_the_overview_prints_the_weights():
    figure = overview(two_images(), ("a", "b"))
    printed = [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]
    assert {'"a"', '"b"', "mean 0.75", '1.00 "a"', '0.50 "a" + 0.50 "b"'} <= set(printed)
    assert len(figure.axes) == 2 * 6


@pytest.mark.parametrize("name", ["figure1", "figure3"])
def test_committed_figures_are_small_and_carry_no_date(name):
    for kind in ("svg", "png"):
        assert 1_000 < (FIGURES / f"{name}.{kind}").stat().st_size < 300_000
    assert "dc:date" not in (FIGURES / f"{name}.svg").read_text()


def test_the_picture_shows_the_images_and_what_becomes_of_them():
    images, labels = torch.full((4, 3, 32, 32), 0.5), torch.arange(4)
    strategy = Cutout(num_classes=4, p=0.0, size=16)  # p is of the training; a picture shows what is done
    pixels = np.asarray(Image.open(io.BytesIO(mixed_batch(strategy, images, labels, "abcd"))))
    above, below = pixels[4:132], pixels[136:264]
    assert (above == 128).sum() == 4 * 128 * 128 * 3
    assert (below == 0).any()
    assert mixed_batch(Identity(num_classes=4), images, labels, "abcd") is None
