import math
import statistics

import pytest
import torch

from datasets import digits
from datasets.augment import normalize
from models import PyramidNet
from smoothmix.evaluation import occlusion
from smoothmix.evaluation.cam import class_activation_maps
from smoothmix.utils.errors import UserError


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
    with pytest.raises(ValueError, match="condition is 'blurred': pass one of clean, translucent, bordered"):
        occlusion.occlude(images, corners, 16, "blurred")


def test_mean_and_standard_error():
    values = [0.1, 0.4, 0.35, 0.8]
    found = occlusion.mean_and_error(torch.tensor(values, dtype=torch.float64))
    assert found["mean"] == pytest.approx(statistics.mean(values))
    assert found["error"] == pytest.approx(statistics.stdev(values) / math.sqrt(4))
    assert math.isnan(occlusion.mean_and_error(torch.ones(1))["error"])


def test_the_change_is_taken_image_by_image():
    clean, seen = torch.tensor([0.1, 0.9]), torch.tensor([0.2, 1.0])
    found = {
        name: {"probability": values, "share": values} for name, values in (("clean", clean), ("translucent", seen))
    }
    change = occlusion.summarize(found)["translucent"]["probability_change"]
    assert change["mean"] == pytest.approx(0.1)
    assert change["error"] == pytest.approx(0, abs=1e-7)  # unpaired it would be 0.57


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
        with pytest.raises(UserError, match="give a number from 1 to 360"):
            occlusion.sample(data, n, seed=0)


def test_measure_against_one_image_at_a_time():
    torch.manual_seed(0)
    model = PyramidNet(8, alpha=14, num_classes=10, bottleneck=False)
    data = digits()
    images, labels, corners, side = occlusion.sample(data, 7, seed=0)

    def scaled(batch):
        return normalize(batch, data.mean, data.std)

    with torch.no_grad():
        model(scaled(images.float() / 255))
    found = occlusion.measure(model, images, labels, corners, side, scaled, batch_size=3)
    assert not model.training
    for condition, values in found.items():
        for i in range(7):
            seen = occlusion.occlude(images[i : i + 1].float() / 255, corners[i : i + 1], side, condition)
            maps, logits = class_activation_maps(model, scaled(seen), labels[i : i + 1])
            (top, left), mass = corners[i].tolist(), maps[0] - maps[0].min()
            inside = mass[top : top + side, left : left + side].sum() / mass.sum()
            assert values["share"][i].item() == pytest.approx(inside.item(), rel=1e-4)
            probability = logits[0].exp()[labels[i]] / logits[0].exp().sum()
            assert values["probability"][i].item() == pytest.approx(probability.item(), rel=1e-4)
