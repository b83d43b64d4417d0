import importlib.util

import pytest
import torch

from smoothmix.corruptions import frost
from smoothmix.corruptions.frost import FROST
from tests.mistakes import refused

SIZES = {
    "cifar": [(120, 180), (63, 112), (63, 112), (70, 105), (99, 132)],
    "imagenet": [(600, 900), (315, 560), (315, 560), (350, 527), (495, 660)],
}


@pytest.fixture
def photographs(monkeypatch):
    """Five drawn photographs of the real sizes, in place of the real ones."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in SIZES["imagenet"]]
    monkeypatch.setattr(frost, "_photographs", lambda: drawn)
    frost._textures.cache_clear()
    yield drawn
    frost._textures.cache_clear()


@pytest.mark.parametrize(("side", "step"), [(32, 5), (64, 2), (96, 1), (224, 1)])
def test_a_loop_over_drawn_photographs(photographs, side, step):
    images = torch.randint(0, 256, (5, 3, side, side), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    draws = torch.tensor([4, 0, 2, 1, 3]), torch.tensor([3, 0, 30, 6, 9]), torch.tensor([1, 22, 0, 7, 40])
    corrupted = FROST.apply(images, (0.75, 0.45), draws)
    for image, result, which, row, column in zip(images, corrupted, *draws, strict=True):
        photograph = photographs[which][:, step // 2 :: step, step // 2 :: step]
        part = photograph[:, row : row + side, column : column + side]
        expected = (image.double() * 0.75 + part.double() * 0.45).clamp(0, 255)
        torch.testing.assert_close(result.double(), expected - 0.5, atol=0.501, rtol=0)


@pytest.mark.parametrize(("benchmark", "side"), [("cifar", 32), ("imagenet", 224)])
def test_every_photograph_and_every_place_is_drawn(photographs, benchmark, side):
    images = torch.zeros(1, 3, side, side, dtype=torch.uint8).expand(20000, -1, -1, -1)
    which, rows, columns = FROST.sample(images, FROST.cifar[0], torch.Generator().manual_seed(0))
    for index, (height, width) in enumerate(SIZES[benchmark]):
        chosen = which == index
        assert chosen.double().mean().item() == pytest.approx(0.2, abs=0.015)
        for places, end in ((rows[chosen], height - side), (columns[chosen], width - side)):
            assert 0 <= places.min() < 0.01 * end
            assert 0.99 * end - 1 <= places.max() < end
            assert places.double().mean().item() == pytest.approx((end - 1) / 2, rel=0.05)


def test_photographs_that_are_smaller_than_the_images_are_enlarged(photographs):
    images = torch.zeros(400, 3, 384, 384, dtype=torch.uint8)[:, :1].expand(-1, 3, -1, -1)
    which, rows, columns = FROST.sample(images, FROST.imagenet[0], torch.Generator().manual_seed(0))
    for index, (height, width) in enumerate(SIZES["imagenet"]):
        assert 0 <= rows[which == index].min() <= rows[which == index].max() < 2 * height - 384
        assert 0 <= columns[which == index].min() <= columns[which == index].max() < 2 * width - 384
    draws = torch.tensor([1]), torch.tensor([200]), torch.tensor([3])
    corrupted = FROST.apply(images[:1], (1.0, 1.0), draws)[0]
    for y, x in ((0, 0), (5, 8), (383, 382)):
        assert torch.equal(corrupted[:, y, x], photographs[1][:, (200 + y) // 2, (3 + x) // 2])


def test_without_the_photographs_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(frost, "find_spec", lambda name: None)
    frost._textures.cache_clear()
    with refused("pip install --no-deps imagecorruptions", error=ImportError):
        FROST.sample(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), FROST.cifar[0], None)


@pytest.mark.parametrize(
    ("size", "complaint"), [(None, "missing"), ((560, 315), "560 x 315")]
)
def test_other_files_in_their_place(monkeypatch, tmp_path, size, complaint):
    from PIL import Image

    (tmp_path / "frost").mkdir()
    if size:
        Image.new("RGB", size).save(tmp_path / "frost" / "frost1.png")
    spec = importlib.util.spec_from_file_location("imagecorruptions", tmp_path / "__init__.py")
    monkeypatch.setattr(frost, "find_spec", lambda name: spec)
    with refused("frost", complaint, error=ImportError):
        frost._photographs()
