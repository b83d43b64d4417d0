"""Every mistake gets one sentence: what was wrong, with the value, and what to do about it."""

import math
import re

import numpy as np
import pytest
import torch

import smoothmix
from smoothmix import CenterGaussian, CutMix, Cutout, HideAndSeek, LabelSmoothing, Mixup, SmoothMixC, SmoothMixS
from tests.mixing.strategies import ALL

IMAGES, LABELS = torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])


def test_whole_numbers_of_numpy_are_numbers():
    assert CutMix(num_classes=np.int64(3))(IMAGES, LABELS)[1].shape == (4, 3)


@pytest.mark.parametrize(
    ("method", "name", "values", "remedy"),
    [
        *[(method, "p", [1.5, -0.1, math.nan], "between 0 and 1") for method in ALL],
        *[(method, "num_classes", [0, 2.5], "a whole number above 0") for method in ALL],
        (SmoothMixS, "k", [-0.2, 1.5, math.nan, math.inf], "between 0 and 1"),
        (SmoothMixS, "k", [4], "not as pixels"),
        (SmoothMixC, "sigma", [[8, 16], (5.0, 16)], "not as pixels"),
        (SmoothMixS, "sigma", [(0, 32)], "not as pixels"),
        (SmoothMixC, "sigma", [(0, 0), (0.5, 1.5), (0.5, 0.25), (-0.5, 0.25), (math.nan, 0.25)], "(low, high)"),
        (SmoothMixS, "sigma", [(0.1, math.nan), (0.1, math.inf), (0.1, 0.2, 0.3), 0.3], "(low, high)"),
        (CenterGaussian, "sigma", [(0.5, 0.25)], "(low, high)"),
        (Mixup, "alpha", [0, 0.0, math.nan], "a finite number above 0"),
        (CutMix, "alpha", [0.0, -1.0, math.inf], "a finite number above 0"),
        (Cutout, "size", [0, -16, 0.5], "in pixels"),
        (CenterGaussian, "spread", [-1, math.inf, math.nan], "standard deviation"),
        (CenterGaussian, "spread", [0.125, 0.99], "in pixels, not as a fraction"),
        (HideAndSeek, "grids", [(), (0,), (0, -4), (0, 2.5), 16], "at least one above 0"),
        (HideAndSeek, "image_size", [0, 32.5], "grids"),
        (HideAndSeek, "hide_prob", [1.5, math.nan], "between 0 and 1"),
        (smoothmix.ManifoldMixup, "stages", ["layer1", [], [1, 2], ["a", "a"]], "different names"),
        (LabelSmoothing, "smoothing", [-0.1, 1.1, math.nan], "between 0 and 1"),
    ],
)
def test_a_value_out_of_range_is_named_with_the_range(method, name, values, remedy):
    for value in values:
        with pytest.raises(ValueError, match=re.escape(f"{name} is {value!r}: ")) as error:
            method(**{"num_classes": 3, name: value})
        assert remedy in str(error.value)


@pytest.mark.parametrize("given", [{"image_size": 32}, {"grids": (32,), "image_size": 32}])
def test_grids_of_another_image_size(given):
    with pytest.raises(ValueError, match=r"grids is .*, in pixels .*images of 32"):
        HideAndSeek(num_classes=3, **given)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        (SmoothMixS, {"k": 0.0}),
        (SmoothMixS, {"k": 1.0}),
        (SmoothMixC, {"sigma": (0.0, 1.0)}),
        (SmoothMixC, {"sigma": (1.0, 1.0)}),
        (CenterGaussian, {"spread": 0}),
        (CenterGaussian, {"spread": 1}),
        (HideAndSeek, {"grids": (1,), "image_size": 2}),
        (HideAndSeek, {"hide_prob": 0.0}),
        (HideAndSeek, {"hide_prob": 1.0}),
        (LabelSmoothing, {"smoothing": 0.0}),
        (LabelSmoothing, {"smoothing": 1.0}),
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
    ("images", "labels", "error", "sentence"),
    [
        (IMAGES.byte(), LABELS, TypeError, r"images are torch\.uint8: convert them to floating point and normalise"),
        (IMAGES.long(), LABELS, TypeError, r"images are torch\.int64: convert"),
        (IMAGES.numpy(), LABELS, TypeError, r"got ndarray and Tensor: collate the batch first\."),
        (IMAGES, [0, 1, 2, 0], TypeError, r"got Tensor and list: collate the batch first\."),
        (IMAGES, LABELS.float(), TypeError, r"class indices are torch\.float32: convert them with labels\.long\(\)\."),
        (IMAGES, LABELS.bool(), TypeError, r"class indices are torch\.bool: convert"),
        (IMAGES[0], LABELS, ValueError, r"images have shape \(3, 8, 8\): pass a batch of shape \(N, C, H, W\)\."),
        (IMAGES, LABELS[:3], ValueError, r"there are 4 images but 3 labels: pass one label per image\."),
        (IMAGES, LABELS + 1, ValueError, r"a class index is 3, outside 0 to 2: correct the labels or num_classes\."),
        (IMAGES, LABELS - 1, ValueError, r"a class index is -1, outside 0 to 2"),
        (IMAGES, LABELS[0], ValueError, r"labels have shape \(\): pass class indices"),
        (IMAGES, torch.zeros(4, 3, 1), ValueError, r"labels have shape \(4, 3, 1\): pass class indices"),
        (IMAGES, torch.zeros(4, 5), ValueError, r"labels have 5 columns but num_classes is 3: pass one column per"),
        (IMAGES, LABELS.to("meta"), ValueError, r"images are on cpu and labels on meta: move both to one device\."),
    ],
)
def test_batches(method, images, labels, error, sentence):
    with pytest.raises(error, match=sentence):
        method(num_classes=3)(images, labels)


@pytest.mark.parametrize("method", [method for method in ALL if method.__name__ != "Identity"])
def test_generator_of_another_device(method):
    strategy = method(num_classes=3, generator=torch.Generator())
    sentence = r"the generator is on cpu and the images on meta: build it with torch\.Generator\(device='meta'\)\."
    with pytest.raises(ValueError, match=sentence):
        strategy(IMAGES.to("meta"), LABELS.to("meta"))


def test_unknown_argument():
    with pytest.raises(TypeError, match="sigmaa"):
        SmoothMixC(num_classes=3, sigmaa=(0.1, 0.2))
