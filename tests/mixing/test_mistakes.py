"""What a mistake with a strategy gets; the values just inside a range are allowed."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import smoothmix
from models import PyramidNet
from smoothmix import CenterGaussian, CutMix, Cutout, HideAndSeek, LabelSmoothing, Mixup, SmoothMixC, SmoothMixS
from smoothmix.mixing.masks import box_mask, gaussian_mask, square_mask
from smoothmix.mixing.smoothmix import SmoothMix
from smoothmix.mixing.strategy import Strategy
from tests.mistakes import one_line, refused
from tests.mixing.strategies import ALL

IMAGES, LABELS = torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
INF, NAN = math.inf, math.nan


def test_whole_numbers_of_numpy_are_numbers():
    assert CutMix(num_classes=np.int64(3))(IMAGES, LABELS)[1].shape == (4, 3)


@pytest.mark.parametrize(
    ("method", "name", "values", "remedy"),
    [
        *[(method, "p", [1.5, -0.1, NAN], "0 and 1") for method in ALL],
        *[(method, "num_classes", [0, 2.5], "above 0") for method in ALL],
        (SmoothMixS, "k", [-0.2, 1.5, NAN, INF], "0 and 1"),
        (SmoothMixS, "k", [4], "pixels"),
        (SmoothMixC, "sigma", [[8, 16], (5.0, 16)], "pixels"),
        (SmoothMixS, "sigma", [(0, 32)], "pixels"),
        (SmoothMixC, "sigma", [(0, 0), (0.5, 1.5), (0.5, 0.25), (-0.5, 0.25), (NAN, 0.25)], "(low, high)"),
        (SmoothMixS, "sigma", [(0.1, NAN), (0.1, INF), (0.1, 0.2, 0.3), 0.3], "(low, high)"),
        (CenterGaussian, "sigma", [(0.5, 0.25)], "(low, high)"),
        (Mixup, "alpha", [0, 0.0, NAN], "above 0"),
        (CutMix, "alpha", [0.0, -1.0, INF], "above 0"),
        (Cutout, "size", [0, -16, 0.5], "pixels"),
        (CenterGaussian, "spread", [-1, INF, NAN], "deviation"),
        (CenterGaussian, "spread", [0.125, 0.99], "pixels"),
        (HideAndSeek, "grids", [(), (0,), (0, -4), (0, 2.5), 16], "above 0"),
        (HideAndSeek, "image_size", [0, 32.5], "grids"),
        (HideAndSeek, "hide_prob", [1.5, NAN], "0 and 1"),
        (smoothmix.ManifoldMixup, "stages", ["layer1", [], [1, 2], ["a", "a"]], "names"),
        (LabelSmoothing, "smoothing", [-0.1, 1.1, NAN], "0 and 1"),
    ],
)
def test_a_value_out_of_range(method, name, values, remedy):
    for value in values:
        with refused(name, repr(value), remedy, error=ValueError):
            method(**{"num_classes": 3, name: value})


@pytest.mark.parametrize("given", [{"image_size": 32}, {"grids": (32,), "image_size": 32}])
def test_grids_of_another_image_size(given):
    with refused("grids", 32, error=ValueError):
        HideAndSeek(num_classes=3, **given)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        *[(SmoothMixS, {"k": k}) for k in (0.0, 1.0)],
        *[(SmoothMixC, {"sigma": sigma}) for sigma in ((0.0, 1.0), (1.0, 1.0))],
        *[(CenterGaussian, {"spread": spread}) for spread in (0, 1)],
        *[(HideAndSeek, {"hide_prob": p}) for p in (0.0, 1.0)],
        *[(LabelSmoothing, {"smoothing": smoothing}) for smoothing in (0.0, 1.0)],
        (HideAndSeek, {"grids": (1,), "image_size": 2}),
    ],
)
def test_the_limits_themselves_are_allowed(method, arguments):
    strategy = method(num_classes=3, **arguments)
    assert {name: getattr(strategy, name) for name in arguments} == arguments
    images, targets = strategy(IMAGES, LABELS)
    assert images.isfinite().all()
    assert targets.isfinite().all()


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(
    ("images", "labels", "error", "words"),
    [
        (IMAGES.byte(), LABELS, TypeError, ["images", "torch.uint8"]),
        (IMAGES.long(), LABELS, TypeError, ["images", "torch.int64"]),
        (IMAGES.numpy(), LABELS, TypeError, ["ndarray", "collate"]),
        (IMAGES, [0, 1, 2, 0], TypeError, ["list", "collate"]),
        (IMAGES, LABELS.float(), TypeError, ["torch.float32", "labels.long()"]),
        (IMAGES, LABELS.bool(), TypeError, ["torch.bool", "labels.long()"]),
        (IMAGES[0], LABELS, ValueError, ["images", (3, 8, 8), "(N, C, H, W)"]),
        (IMAGES, LABELS[:3], ValueError, ["4 images", "3 labels"]),
        (IMAGES, LABELS + 1, ValueError, [3, "0 to 2", "num_classes"]),
        (IMAGES, LABELS - 1, ValueError, [-1, "0 to 2", "num_classes"]),
        (IMAGES, LABELS[0], ValueError, ["labels", "()"]),
        (IMAGES, torch.zeros(4, 3, 1), ValueError, ["labels", (4, 3, 1)]),
        (IMAGES, torch.zeros(4, 5), ValueError, [5, "num_classes is 3"]),
        (IMAGES, LABELS.to("meta"), ValueError, ["cpu", "meta"]),
        (IMAGES, torch.zeros(4, 7, 8, dtype=torch.long), ValueError, [(4, 7, 8), (8, 8)]),
        (IMAGES, torch.zeros(4, 2, 8, 8), ValueError, [2, "num_classes is 3"]),
        (IMAGES, torch.full((4, 8, 8), 255), ValueError, [255, "0 to 2"]),
        (IMAGES, torch.zeros(3, 8, 8, dtype=torch.long), ValueError, ["4 images", "3 labels"]),
        (IMAGES, torch.zeros(4, 8, 8), TypeError, ["torch.float32"]),
    ],
)
def test_batches(method, images, labels, error, words):
    with refused(*words, error=error):
        method(num_classes=3)(images, labels)


@pytest.mark.parametrize("method", [method for method in ALL if method.__name__ != "Identity"])
def test_generator_of_another_device(method):
    strategy = method(num_classes=3, generator=torch.Generator())
    with refused("cpu", "torch.Generator(device='meta')", error=ValueError):
        strategy(IMAGES.to("meta"), LABELS.to("meta"))


def test_unknown_argument():
    with refused("sigmaa", error=TypeError):
        SmoothMixC(num_classes=3, sigmaa=(0.1, 0.2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gaussian_mask((3, 3), (1, 1), -2.0), ["sigma", -2.0]),
        (lambda: gaussian_mask((3, 3), (1, 1), NAN), ["sigma", NAN]),
        (lambda: gaussian_mask((3, 3), (INF, 1), 1), ["centre's y", INF]),
        (lambda: gaussian_mask((3, 0), (1, 1), 1), ["size", (3, 0)]),
        (lambda: gaussian_mask((3.5, 2), (1, 1), 1), [(3.5, 2), "images.shape[-2:]"]),
        (lambda: gaussian_mask((3, 3), (1, torch.ones(2, 1)), 1), ["centre's x", (2, 1)]),
        (lambda: gaussian_mask((3, 3), (1, 1), torch.zeros(2, 2)), ["sigma", (2, 2)]),
        (lambda: square_mask((3, 3), (1, 1), -1, 0.2), ["sigma", -1]),
        (lambda: square_mask((3, 3), (1, 1), torch.zeros(2, 2), 0.2), ["sigma", (2, 2)]),
        (lambda: square_mask((3, 3), (1, 1), 2, torch.zeros(2, 2)), ["k ", (2, 2)]),
        (lambda: square_mask((3, 3), (1, 1), 1, -0.2), ["k ", -0.2]),
        (lambda: square_mask((3, 3), (1, 1), 1, NAN), ["k ", NAN]),
        (lambda: box_mask((3, 3), (1, 1), (-4, 1)), ["height", -4]),
        (lambda: box_mask((3, 3), (1, 1), (torch.zeros(2, 2), 1)), ["height", (2, 2)]),
        (lambda: box_mask((3, 3), (1, 1), (1, torch.zeros(2, 2))), ["width", (2, 2)]),
        (lambda: box_mask((3, 3), (torch.zeros(2, 2), 1), (1, 1)), ["centre's y", (2, 2)]),
        (lambda: box_mask((3, 3), (1, torch.zeros(2, 2)), (1, 1)), ["centre's x", (2, 2)]),
        (lambda: box_mask((3, 3), (1, 1), (4, -1)), ["width", -1]),
    ],
)
def test_masks(call, words):
    with refused(*words, error=ValueError):
        call()


def manifold(model, stages=("0",)):
    strategy = smoothmix.ManifoldMixup(num_classes=3, stages=stages, generator=torch.Generator())
    strategy.attach(model)
    strategy.draw_layer = lambda: 1
    return strategy


@pytest.mark.parametrize(
    ("stage", "words"), [("layr1", ["layr1", "layer1"]), ("layer4", ["layer4", "layer3"]), ("", ["''", "layer1"])]
)
def test_a_stage_that_the_network_lacks_hooks_nothing(stage, words):
    model = PyramidNet(8, 6, 3, bottleneck=False)
    with refused(*words, error=ValueError):
        manifold(model, ["layer1", stage])
    assert not model.layer1._forward_hooks


class Two(nn.Module):
    def forward(self, x):
        return x, x


def test_the_order_of_calls_of_manifold_mixup():
    with refused("attach(model)", error=RuntimeError):
        smoothmix.ManifoldMixup(num_classes=3)(IMAGES, LABELS)
    strategy = manifold(nn.Sequential(nn.Identity()))
    strategy(IMAGES, LABELS)
    with refused("'0'", error=RuntimeError):
        strategy(IMAGES, LABELS)
    for model, images, words in (
        (nn.Sequential(nn.Identity()), IMAGES[:3], ["'0'", (3, 3, 8, 8), 4]),
        (nn.Sequential(Two()), IMAGES, ["'0'", "tuple", 4]),
    ):
        manifold(model)(IMAGES, LABELS)
        with refused(*words, error=ValueError):
            model(images)
    with refused("cpu", "meta", error=ValueError):
        manifold(nn.Sequential(nn.Identity()))(IMAGES.to("meta"), LABELS.to("meta"))


@pytest.mark.parametrize("method", [Strategy, SmoothMix])
def test_an_unfinished_method(method):
    more = {"sigma": (0, 1)} if method is SmoothMix else {}
    with pytest.raises(NotImplementedError) as error:
        method(num_classes=2, p=1.0, per_sample=False, **more).sample(1, (2, 2), "cpu")
    one_line(str(error.value), method.__name__)
