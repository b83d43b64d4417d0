import pytest
import torch

from datasets import digits
from smoothmix.evaluation import occlusion
from tests.mistakes import refused


def some(n=6, size=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 3, size, size, generator=generator)
    return images, occlusion.draw_corners(n, size, occlusion.box_side(size), generator)


@pytest.mark.parametrize("size", [32, 33, 224])
def test_boxes_have_their_area_and_lie_inside(size):
    side = occlusion.box_side(size)
    corners = occlusion.draw_corners(500, size, side, torch.Generator().manual_seed(0))
    boxes = occlusion.boxes(corners, side, size)
    assert boxes.sum(dim=(1, 2)).tolist() == [side * side] * 500
    for (top, left), box in zip(corners[:20].tolist(), boxes, strict=False):
        assert box[top : top + side, left : left + side].all()
    assert corners.min() == 0
    if size < 224:
        assert corners.max() == size - side  # both ends are drawn


def test_the_translucent_box_is_halfway_to_grey_and_the_bordered_one_opaque_with_a_border_of_two_pixels():
    images, corners = some()
    seen = [occlusion.occlude(images, corners, 16, condition) for condition in ("translucent", "bordered")]
    for image, translucent, bordered, (top, left) in zip(images, *seen, corners.tolist(), strict=True):
        expected = image.clone()
        for y in range(top, top + 16):
            for x in range(left, left + 16):
                expected[:, y, x] = 0.5 * image[:, y, x] + 0.25
        torch.testing.assert_close(translucent, expected)
        expected[:, top : top + 16, left : left + 16] = 0
        expected[:, top + 2 : top + 14, left + 2 : left + 14] = 0.5
        assert torch.equal(bordered, expected)


def test_clean_is_untouched_and_nothing_is_written_into_the_input():
    images, corners = some()
    before = images.clone()
    for condition in occlusion.CONDITIONS:
        occlusion.occlude(images, corners, 16, condition)
    assert torch.equal(images, before)
    assert torch.equal(occlusion.occlude(images, corners, 16, "clean"), before)
    with refused("'blurred'", "translucent", error=ValueError):
        occlusion.occlude(images, corners, 16, "blurred")


def test_the_sample_follows_from_the_seed():
    data = digits()
    images, labels, corners, side = occlusion.sample(data, 20, seed=3)
    again = occlusion.sample(data, 20, seed=3)
    assert all(torch.equal(a, b) for a, b in zip((images, labels, corners), again[:3], strict=True))
    assert not torch.equal(images, occlusion.sample(data, 20, seed=4)[0])
    assert (images.shape, images.dtype, corners.shape, side) == ((20, 3, 32, 32), torch.uint8, (20, 2), 16)
    everything, every_label = data.arrays("test")
    for image, label in zip(images.permute(0, 2, 3, 1), labels, strict=True):
        assert label in every_label[(everything == image).all(dim=3).all(dim=2).all(dim=1)]
    for n in (0, 361):
        with refused(n, 360):
            occlusion.sample(data, n, seed=0)
