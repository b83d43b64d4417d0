import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional as TF

from datasets import decode
from datasets.decode import center_crop, load_rgb, resized_crop


def test_center_crop_is_that_of_torchvision():
    rng = np.random.default_rng(0)
    for height, width in ((40, 61), (61, 40), (37, 37), (10, 50), (33, 100)):
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for size, resize in ((16, 20), (15, 20), (20, 20), (17, 24)):
            theirs = TF.center_crop(TF.resize(image, resize), [size, size])
            assert np.array_equal(np.asarray(center_crop(image, size, resize)), np.asarray(theirs))


def strip(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_the_crop_of_a_strip_has_the_pixels_that_pillow_would_compute(monkeypatch):
    """Many sizes, enlarged and reduced; Pillow's order of the two passes is the same in all versions for these."""
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(150):
        short, aspect = (int(number) for number in np.exp(rng.uniform((0, 0), (4, 5))))
        resize = int(rng.integers(1, 40))
        size = int(rng.integers(1, resize + 1))
        for height, width in ((short, short * aspect + 1), (short * (aspect + 101), short)):
            image = strip(height, width)
            monkeypatch.setattr(decode, "LARGE", 1 << 40)
            whole = np.asarray(center_crop(image, size, resize))
            monkeypatch.setattr(decode, "LARGE", 0)
            assert np.array_equal(np.asarray(center_crop(image, size, resize)), whole), (height, width, size, resize)
            compared += 1
    assert compared == 300


@pytest.mark.parametrize(("height", "width"), [(1, 60_000), (60_000, 1)])
def test_a_strip_takes_little_memory(height, width):
    """The whole of it, resized, would take 12 GB."""
    image = strip(height, width)
    tracemalloc.start()
    cropped = center_crop(image, 224, 256)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert cropped.size == (224, 224)
    assert peak < 16 << 20
    middle = np.asarray(image).reshape(-1, 3)[30_000 - 1 : 30_000 + 1]  # 256 times enlarged: between two pixels
    assert (np.asarray(cropped) >= middle.min(0)).all()
    assert (np.asarray(cropped) <= middle.max(0)).all()


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
