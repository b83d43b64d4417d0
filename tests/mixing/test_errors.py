"""Every mistake gets one sentence: what was wrong, with the value, and what to do about it."""

import math

import numpy as np
import pytest
import torch

import smoothmix
from smoothmix import CenterGaussian, CutMix, Cutout, HideAndSeek, LabelSmoothing, Mixup, SmoothMixC, SmoothMixS
from tests.mixing.strategies import ALL

IMAGES, LABELS = torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])


def test_whole_numbers_of_numpy_are_numbers():
    assert CutMix(num_classes=np.int64(3))(IMAGES, LABELS)[1].shape == (4, 3)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"p": 1.5}, r"p is 1\.5: pass the probability of mixing, between 0 and 1\."),
        ({"p": -0.1}, r"p is -0\.1: pass"),
        ({"p": math.nan}, r"p is nan: pass"),
        ({"num_classes": 0}, r"num_classes is 0: pass the number of classes, a whole number above 0\."),
        ({"num_classes": 2.5}, r"num_classes is 2\.5: pass"),
    ],
)
def test_common_arguments(method, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        method(**{"num_classes": 3, **arguments})


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: SmoothMixS(num_classes=3, k=-0.2), r"k is -0\.2: pass the border's .*, between 0 and 1\.$"),
        (lambda: SmoothMixS(num_classes=3, k=1.5), r"k is 1\.5: pass"),
        (lambda: SmoothMixS(num_classes=3, k=4), r"k is 4: .* a fraction of the square's side, not as pixels"),
        (lambda: SmoothMixS(num_classes=3, k=math.nan), r"k is nan: pass"),
        (lambda: SmoothMixS(num_classes=3, k=math.inf), r"k is inf: pass"),
        (lambda: SmoothMixC(num_classes=3, sigma=[8, 16]), r"sigma is \[8, 16\]: .* as fractions .*, not as pixels"),
        (lambda: SmoothMixS(num_classes=3, sigma=(0, 32)), r"sigma is \(0, 32\): .* as fractions"),
        (lambda: SmoothMixC(num_classes=3, sigma=(0, 0)), r"sigma is \(0, 0\): .*: 0 <= low .* high > 0\.$"),
        (lambda: SmoothMixC(num_classes=3, sigma=(0.5, 1.5)), r"sigma is \(0\.5, 1\.5\): pass"),
        (lambda: SmoothMixC(num_classes=3, sigma=(0.5, 0.25)), r"sigma is \(0\.5, 0\.25\): pass \(low, high\)"),
        (lambda: SmoothMixC(num_classes=3, sigma=(-0.5, 0.25)), r"sigma is \(-0\.5, 0\.25\): pass"),
        (lambda: SmoothMixC(num_classes=3, sigma=(math.nan, 0.25)), r"sigma is \(nan, 0\.25\): pass"),
        (lambda: SmoothMixC(num_classes=3, sigma=(0.1, math.nan)), r"sigma is \(0\.1, nan\): pass"),
        (lambda: SmoothMixS(num_classes=3, sigma=(0.1, math.inf)), r"sigma is \(0\.1, inf\): pass"),
        (lambda: SmoothMixS(num_classes=3, sigma=(0.1, 0.2, 0.3)), r"sigma is \(0\.1, 0\.2, 0\.3\): pass"),
        (lambda: SmoothMixS(num_classes=3, sigma=0.3), r"sigma is 0\.3: pass"),
        (lambda: Mixup(num_classes=3, alpha=0), r"alpha is 0: pass .* a finite number above 0\."),
        (lambda: Mixup(num_classes=3, alpha=0.0), r"alpha is 0\.0: pass"),
        (lambda: Mixup(num_classes=3, alpha=math.nan), r"alpha is nan: pass"),
        (lambda: CutMix(num_classes=3, alpha=0.0), r"alpha is 0\.0: pass"),
        (lambda: CutMix(num_classes=3, alpha=-1.0), r"alpha is -1\.0: pass"),
        (lambda: CutMix(num_classes=3, alpha=math.inf), r"alpha is inf: pass"),
        (lambda: Cutout(num_classes=3, size=0), r"size is 0: pass the side of the hole in pixels"),
        (lambda: Cutout(num_classes=3, size=-16), r"size is -16: pass"),
        (lambda: Cutout(num_classes=3, size=0.5), r"size is 0\.5: pass .* in pixels"),
        (lambda: CenterGaussian(num_classes=3, spread=-1), r"spread is -1: pass the centre's standard deviation"),
        (lambda: CenterGaussian(num_classes=3, spread=0.125), r"spread is 0\.125: .* in pixels, not as a fraction"),
        (lambda: CenterGaussian(num_classes=3, spread=0.99), r"spread is 0\.99: .* the image size: 0, .* 1 or more\.$"),
        (lambda: CenterGaussian(num_classes=3, spread=math.inf), r"spread is inf: pass"),
        (lambda: CenterGaussian(num_classes=3, spread=math.nan), r"spread is nan: pass"),
        (lambda: CenterGaussian(num_classes=3, sigma=(0.5, 0.25)), r"sigma is \(0\.5, 0\.25\): pass"),
        (lambda: HideAndSeek(num_classes=3, grids=()), r"grids is \(\): pass the sides of the patches in pixels"),
        (lambda: HideAndSeek(num_classes=3, grids=(0,)), r"grids is \(0,\): pass .* at least one above 0\."),
        (lambda: HideAndSeek(num_classes=3, grids=(0, -4)), r"grids is \(0, -4\): pass"),
        (lambda: HideAndSeek(num_classes=3, grids=(0, 2.5)), r"grids is \(0, 2\.5\): pass"),
        (lambda: HideAndSeek(num_classes=3, grids=16), r"grids is 16: pass"),
        (lambda: HideAndSeek(num_classes=3, image_size=32), r"images of 32: .* that these sides .*for\.$"),
        (lambda: HideAndSeek(num_classes=3, grids=(32,), image_size=32), r"grids is \(32,\), in pixels"),
        (lambda: HideAndSeek(num_classes=3, image_size=0), r"image_size is 0: pass the image size that grids"),
        (lambda: HideAndSeek(num_classes=3, image_size=32.5), r"image_size is 32\.5: pass"),
        (lambda: HideAndSeek(num_classes=3, hide_prob=1.5), r"hide_prob is 1\.5: pass .* between 0 and 1\."),
        (lambda: HideAndSeek(num_classes=3, hide_prob=math.nan), r"hide_prob is nan: pass"),
        (
            lambda: smoothmix.ManifoldMixup(num_classes=3, stages="layer1"),
            r"stages is 'layer1': pass different names of the network's modules, at least one\.",
        ),
        (lambda: smoothmix.ManifoldMixup(num_classes=3, stages=[]), r"stages is \[\]: pass"),
        (lambda: smoothmix.ManifoldMixup(num_classes=3, stages=[1, 2]), r"stages is \[1, 2\]: pass"),
        (lambda: smoothmix.ManifoldMixup(num_classes=3, stages=["a", "a"]), r"stages is \['a', 'a'\]: pass different"),
        (lambda: LabelSmoothing(num_classes=3, smoothing=-0.1), r"smoothing is -0\.1: pass .* between 0 and 1\."),
        (lambda: LabelSmoothing(num_classes=3, smoothing=1.1), r"smoothing is 1\.1: pass"),
        (lambda: LabelSmoothing(num_classes=3, smoothing=math.nan), r"smoothing is nan: pass"),
    ],
)
def test_arguments_of_each_strategy(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


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
