import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import functional as TF

from datasets import class_folders
from datasets.augment import draw_resized_crop
from datasets.decode import center_crop, crop_of, exact_crop, fast_crop, load_rgb
from smoothmix.utils.errors import UserError

SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "imagenet-sample"


def test_center_crop_is_that_of_torchvision():
    rng = np.random.default_rng(0)
    for height, width in ((40, 61), (61, 40), (37, 37), (10, 50), (33, 100)):
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for size, resize in ((16, 20), (15, 20), (20, 20), (17, 24)):
            theirs = TF.center_crop(TF.resize(image, resize), [size, size])
            assert np.array_equal(np.asarray(center_crop(image, size, resize)), np.asarray(theirs))


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


def difference(a: Image.Image, b: Image.Image) -> np.ndarray:
    assert a.mode == b.mode == "RGB"
    assert a.size == b.size
    return np.abs(np.asarray(a).astype(int) - np.asarray(b))


def test_the_exact_crop_is_torchvisions_of_pillows_pixels(tmp_path):
    grey = smooth(120, 160).convert("L")
    paths = [saved(smooth(120, 160), tmp_path / "a.jpg"), saved(smooth(90, 80), tmp_path / "b.png")]
    paths += [saved(grey, tmp_path / "grey.jpg"), saved(smooth(99, 70).convert("CMYK"), tmp_path / "cmyk.jpg")]
    for path, box in zip(paths, [(3, 5, 100, 90), (0, 0, 90, 80), (7, 11, 20, 30), (9, 1, 90, 64)], strict=True):
        expected = TF.resized_crop(Image.open(path).convert("RGB"), *box, [32, 32])
        assert not difference(exact_crop(path, 32, lambda height, width, box=box: box), expected).any()


@pytest.mark.parametrize("box", [(3, 5, 60, 50), (0, 0, 20, 24), (101, 63, 19, 97)])
@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_fast_crop_is_within_two_grey_levels_where_the_box_is_small(tmp_path, box, subsampling, mode):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)).convert(mode)
    path = saved(noise, tmp_path / "x.jpg", quality=95, subsampling=subsampling)
    seen = []

    def draw(height, width):
        seen.append((height, width))
        return box

    exact, fast = exact_crop(path, 32, draw), fast_crop(path, 32, draw)
    assert seen == [(120, 160)] * 2
    change = difference(exact, fast).max()
    assert change <= 2
    assert (change > 0) == (box[2] > 32 or box[3] > 32), "enlarging is the same in both"


@pytest.mark.parametrize(("side", "size"), [(64, (64, 64)), (127, (127, 127)), (128, (64, 64)), (300, (75, 75))])
def test_large_boxes_are_decoded_at_a_reduced_size_but_not_smaller_than_the_crop(tmp_path, monkeypatch, side, size):
    path = saved(smooth(side, side), tmp_path / "x.jpg", quality=95)
    decoded = []
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, *a, **k: decoded.append(self.size) or resize(self, *a, **k))
    fast = fast_crop(path, 64, lambda height, width: (0, 0, side, side))
    assert decoded == ([size] if side >= 128 else []), "boxes less than twice as large are read whole"
    monkeypatch.undo()
    exact = exact_crop(path, 64, lambda height, width: (0, 0, side, side))
    assert difference(exact, fast).mean() < 1.2


def test_a_reduced_crop_of_a_smooth_image_is_the_exact_one_within_a_few_grey_levels(tmp_path):
    path = saved(smooth(401, 515), tmp_path / "x.jpg", quality=95)
    draws = torch.Generator().manual_seed(0)
    for _ in range(20):
        box = draw_resized_crop(401, 515, (0.3, 1.0), (3 / 4, 4 / 3), draws)
        change = difference(*(crop(path, 48, lambda height, width: box) for crop in (exact_crop, fast_crop)))  # noqa: B023
        assert change.mean() < 0.6
        assert change.max() <= 5


def test_other_files_are_read_exactly(tmp_path):
    paths = [saved(smooth(90, 120), tmp_path / name) for name in ("x.png", "x.bmp", "x.webp")]
    paths.append(saved(smooth(90, 120).convert("CMYK"), tmp_path / "cmyk.jpg"))
    for path in paths:
        exact, fast = (crop(path, 32, lambda height, width: (3, 4, 80, 90)) for crop in (exact_crop, fast_crop))
        assert not difference(exact, fast).any()


@pytest.mark.parametrize("size", [32, 8])
def test_the_fast_crop_names_damaged_files(tmp_path, size):
    buffer = io.BytesIO()
    smooth(60, 60).save(buffer, "JPEG", quality=95)
    files = {"truncated": buffer.getvalue()[:-300], "empty": b"", "text": b"<html>", "head": buffer.getvalue()[:300]}
    for name, content in files.items():
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"cannot read the image {path} \(.*: replace the file or remove it"):
            fast_crop(str(path), size, lambda height, width: (0, 0, height, width))


def test_the_option_reaches_training_images_and_no_others(class_folder):
    root = class_folder()
    knobs = {"image_size": 16, "resize": 20, "workers": 0}
    exact, fast = class_folders(root, **knobs), class_folders(root, decode="fast", **knobs)
    for split in ("train", "test"):
        for (a, _), (b, _) in zip(exact.eval_batches(split, 4), fast.eval_batches(split, 4), strict=True):
            assert torch.equal(a, b)
    (a, labels), (b, others) = (next(data.train_batches(21, 0).epoch(0)) for data in (exact, fast))
    assert torch.equal(labels, others)
    assert not torch.equal(a, b)
    assert (a - b).abs().mean() < 0.02
    with pytest.raises(UserError, match="decode=reduced is neither exact nor fast"):
        class_folders(root, decode="reduced", **knobs)
    assert crop_of("exact") is exact_crop


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"no ImageNet sample at {SAMPLE}")
def test_fast_crops_of_real_photographs():
    stream = torch.Generator().manual_seed(1)
    changes = []
    for path in sorted(SAMPLE.glob("*/*.JPEG"))[::4]:
        torchs = decode_jpeg(read_file(str(path)), ImageReadMode.RGB).permute(1, 2, 0)
        assert np.array_equal(torchs, load_rgb(str(path))), "the decoders agree: what differs is the resize"
        box = draw_resized_crop(*Image.open(path).size[::-1], (0.08, 1.0), (3 / 4, 4 / 3), stream)
        if min(box[2:]) < 448:
            crops = (crop(str(path), 224, lambda height, width: box) for crop in (exact_crop, fast_crop))  # noqa: B023
            changes.append(difference(*crops))
    changes = np.stack(changes)
    assert len(changes) >= 30
    assert changes.max() <= 2
    assert (changes > 0).mean() < 0.05
