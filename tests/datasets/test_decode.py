from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional as TF

from datasets.decode import load_rgb, resized_crop
from smoothmix.utils.pictures import center_crop
from tests.mistakes import refused


def test_center_crop_is_that_of_torchvision():
    rng = np.random.default_rng(0)
    for height, width in ((40, 61), (61, 40), (37, 37), (10, 50), (33, 100)):
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for size, resize in ((16, 20), (15, 20), (20, 20), (17, 24)):
            theirs = TF.center_crop(TF.resize(image, resize), [size, size])
            assert np.array_equal(np.asarray(center_crop(image, size, resize)), np.asarray(theirs))


@pytest.mark.parametrize("size", [(257, 1), (2, 600), (60_000, 1)])
def test_a_strip_is_refused_before_it_becomes_huge(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "a.png")
    with refused(tmp_path / "a.png", f"{size[0]}x{size[1]}"):
        load_rgb(str(tmp_path / "a.png"), partial(center_crop, size=224, resize=256))
    assert center_crop(Image.new("RGB", (256, 1)), 2, 2).size == (2, 2)


def saved(image: Image.Image, path: Path, **options) -> str:
    image.save(path, **options)
    return str(path)


def test_modes_become_rgb(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 4), dtype=np.uint8)
    rgb = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    grey = Image.fromarray(np.ascontiguousarray(pixels[..., 0]))

    def load(path):
        image = load_rgb(path)
        assert image.mode == "RGB"
        return np.asarray(image)

    assert np.array_equal(load(saved(rgb, tmp_path / "rgb.png")), pixels[..., :3])
    assert np.array_equal(load(saved(grey, tmp_path / "grey.png")), np.repeat(pixels[..., :1], 3, axis=2))
    assert np.array_equal(load(saved(Image.fromarray(pixels), tmp_path / "alpha.png")), pixels[..., :3])
    few = rgb.quantize(7)
    assert np.array_equal(load(saved(few, tmp_path / "palette.png")), np.asarray(few.convert("RGB")))
    bits = grey.point(lambda value: 255 * (value > 99)).convert("1")
    assert np.array_equal(load(saved(bits, tmp_path / "bits.png"))[..., 1], 255 * (pixels[..., 0] > 99))
    cmyk = Image.new("CMYK", (16, 16), (255, 0, 0, 0))  # cyan ink
    middle = load(saved(cmyk, tmp_path / "cmyk.jpg", quality=100))[8, 8]
    assert middle.tolist() == pytest.approx([0, 255, 255], abs=6)
    grey_jpeg = load(saved(Image.new("L", (16, 16), 120), tmp_path / "grey.jpg"))
    assert grey_jpeg[8, 8].tolist() == pytest.approx([120, 120, 120], abs=2)


def test_an_orientation_tag_is_not_obeyed(tmp_path):
    image = Image.new("RGB", (20, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert load_rgb(saved(image, tmp_path / "turned.jpg", exif=exif)).size == (20, 10)


# ---- the crop of a training image


def smooth(height: int, width: int, seed: int = 0) -> Image.Image:
    """Return an image as smooth as a photograph."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def test_the_crop_of_a_training_image_is_torchvisions():
    for size, box in (((120, 160), (3, 5, 100, 90)), ((90, 80), (0, 0, 90, 80)), ((99, 70), (9, 1, 90, 64))):
        image = smooth(*size)
        theirs = TF.resized_crop(image, *box, [32, 32])
        assert np.array_equal(np.asarray(resized_crop(image, box, 32)), np.asarray(theirs))
