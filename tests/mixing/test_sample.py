"""What `sample` promises: one mask for each of n, float32 on the given device, whatever the default dtype is."""

import pytest
import torch

from smoothmix import (
    CenterGaussian,
    CutMix,
    Cutout,
    HideAndSeek,
    Identity,
    LabelSmoothing,
    ManifoldMixup,
    Mixup,
    SmoothMixC,
    SmoothMixS,
)
from smoothmix.mixing import SmoothMix, Strategy, box_mask, gaussian_mask, square_mask

CONSTANT = (Identity, LabelSmoothing, ManifoldMixup, Mixup)
WHOLE_IMAGE = (CenterGaussian, CutMix, Cutout, HideAndSeek, SmoothMixC, SmoothMixS)


@pytest.fixture
def double_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double_by_default")
@pytest.mark.parametrize("method", CONSTANT + WHOLE_IMAGE)
def test_masks_are_float32_of_one_shape(method):
    strategy = method(num_classes=2, generator=torch.Generator().manual_seed(0))
    masks = strategy.sample(3, (4, 5), "cpu")
    assert masks.dtype == torch.float32
    assert masks.shape == ((3, 1, 1, 1) if method in CONSTANT else (3, 1, 4, 5))
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert method is not Identity or (masks == 1).all()


@pytest.mark.usefixtures("double_by_default")
@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_draws_are_float32(alpha):
    strategy = Mixup(num_classes=2)
    assert strategy.beta(2, alpha, "cpu").dtype == torch.float32
    assert strategy.uniform(2, 0, 1, "cpu").dtype == torch.float32
    assert strategy.whole(2, 5, "cpu").dtype == torch.int64
    assert strategy.draw_partner(torch.zeros(2, 1, 1, 1)).dtype == torch.int64


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        (
            lambda: Strategy(num_classes=2, p=1.0, per_sample=False).sample(1, (2, 2), "cpu"),
            "Strategy must say how to draw",
        ),
        (
            lambda: SmoothMix(num_classes=2, p=1.0, per_sample=False, sigma=(0, 1)).sample(1, (2, 2), "cpu"),
            "SmoothMix must",
        ),
    ],
)
def test_an_unfinished_method_says_what_is_missing(missing, sentence):
    with pytest.raises(NotImplementedError, match=sentence):
        missing()


@pytest.mark.parametrize("smoothing", [-0.1, 1.1])
def test_smoothing_is_a_part(smoothing):
    with pytest.raises(ValueError, match="smoothing is"):
        LabelSmoothing(num_classes=2, smoothing=smoothing)


def test_a_planned_layer_is_the_next_calls():
    strategy = ManifoldMixup(num_classes=2, stages=("a", "b"), generator=torch.Generator().manual_seed(0))
    strategy.attach(torch.nn.ModuleDict({"a": torch.nn.Identity(), "b": torch.nn.Identity()}))
    for layer in (0, 2, 0):
        strategy.draw_layer = lambda layer=layer: layer
        assert strategy.plan() == layer
        strategy.draw_layer = lambda: 1  # would be drawn if nothing were planned
        images = torch.randn(16, 1, 2, 2)
        mixed, _ = strategy(images, torch.arange(16) % 2)
        assert torch.equal(mixed, images) == (layer != 0)
        strategy._pending = None


@pytest.mark.parametrize("method", [CutMix, Mixup])
def test_alpha_is_above_0(method):
    with pytest.raises(ValueError, match=r"alpha is 0\.0: "):
        method(num_classes=2, alpha=0.0)


def test_the_smallest_values_that_are_allowed():
    HideAndSeek(num_classes=1, p=0, image_size=2, hide_prob=0, grids=(1,)).sample(1, (1, 1), "cpu")
    Cutout(num_classes=1, p=0, size=1).sample(1, (1, 1), "cpu")
    SmoothMixS(num_classes=1, p=0, k=0).sample(1, (1, 1), "cpu")
    CenterGaussian(num_classes=1, p=0, spread=0).sample(1, (1, 1), "cpu")


def test_a_length_of_a_wrong_shape_is_named():
    wrong = torch.zeros(2, 2)
    with pytest.raises(ValueError, match=r"^sigma has shape"):
        square_mask((4, 4), (1, 1), wrong, 0.2)
    with pytest.raises(ValueError, match=r"^k has shape"):
        square_mask((4, 4), (1, 1), 2, wrong)
    with pytest.raises(ValueError, match=r"^sigma has shape"):
        gaussian_mask((4, 4), (1, 1), wrong)
    with pytest.raises(ValueError, match=r"^the box height has shape"):
        box_mask((4, 4), (1, 1), (wrong, 1))
    with pytest.raises(ValueError, match=r"^the box width has shape"):
        box_mask((4, 4), (1, 1), (1, wrong))
    with pytest.raises(ValueError, match=r"^the centre's y has shape"):
        box_mask((4, 4), (wrong, 1), (1, 1))
    with pytest.raises(ValueError, match=r"^the centre's x has shape"):
        box_mask((4, 4), (1, wrong), (1, 1))
