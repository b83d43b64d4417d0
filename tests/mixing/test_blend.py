"""Exactness: what is not mixed is the input, bit for bit, hard masks copy pixels, and a CPU gives the bits of a GPU."""

from importlib import import_module

import pytest
import torch

from smoothmix import CutMix, Identity, LabelSmoothing, Mixup, SmoothMixC, SmoothMixS
from smoothmix.mixing.blend import blend, label_weight, mix_images, to_targets
from smoothmix.mixing.on_cpu import _box
from tests.mixing.strategies import ALL, seeded

ON_CPU = import_module("smoothmix.mixing.on_cpu")
BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}


def awkward_images(dtype, n=5):
    """Random numbers with values that arithmetic does not carry through: NaN, infinities, -0, subnormals, maxima."""
    images = torch.randn(n, 3, 9, 7, generator=seeded()).to(dtype)
    info = torch.finfo(dtype)
    specials = torch.tensor(
        [float("nan"), float("inf"), -float("inf"), -0.0, 0.0, info.smallest_normal / 2, info.max, info.min],
        dtype=dtype,
    )
    every_third = images.view(-1)[::3]
    every_third.copy_(specials.repeat(len(every_third))[: len(every_third)])
    return images


@pytest.mark.parametrize("dtype", list(BITS))
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("method", ALL)
def test_unmixed_is_bit_for_bit_the_input(method, per_sample, dtype, memory_format):
    images = awkward_images(dtype).contiguous(memory_format=memory_format)
    labels = torch.tensor([0, 3, 1, 2, 3])
    mixed, targets = method(num_classes=4, p=0.0, per_sample=per_sample)(images, labels)
    assert torch.equal(mixed.view(BITS[dtype]), images.view(BITS[dtype]))
    assert torch.equal(targets, torch.nn.functional.one_hot(labels, 4).float())
    assert mixed.is_contiguous(memory_format=memory_format)


def test_the_coin_leaves_some_samples_exactly_alone():
    images, labels = awkward_images(torch.bfloat16).repeat(20, 1, 1, 1), torch.arange(100)
    mixed, targets = SmoothMixC(num_classes=100, p=0.5, per_sample=True, generator=seeded())(images, labels)
    untouched = targets.diagonal() == 1
    assert 30 < untouched.sum() < 70
    assert torch.equal(mixed[untouched].view(torch.int16), images[untouched].view(torch.int16))
    assert torch.equal(targets[untouched], torch.eye(100)[untouched])


@pytest.mark.parametrize("dtype", list(BITS))
def test_cutmix_copies_pixels(dtype):
    images = awkward_images(dtype)
    cutmix = CutMix(num_classes=5, p=1.0, per_sample=True, generator=seeded(4))
    state = cutmix.generator.get_state()
    mixed, _ = cutmix(images, torch.arange(5))
    cutmix.generator.set_state(state)
    mask, partner = cutmix.draw_mask(images), cutmix.draw_partner(images)
    bits = images.view(BITS[dtype])
    expected = torch.where(mask == 1, bits, bits[partner])
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(mixed.view(BITS[dtype]), expected)


def test_blend_equals_a_loop():
    generator = seeded(0)
    images, mask = torch.randn(3, 2, 4, 5, generator=generator), torch.rand(3, 1, 4, 5, generator=generator)
    targets, partner = torch.rand(3, 6, generator=generator), torch.tensor([2, 1, 0])
    mixed, mixed_targets = blend(images, targets, partner, mask)
    for i, j in enumerate(partner.tolist()):
        for y in range(4):
            for x in range(5):
                g = mask[i, 0, y, x]
                torch.testing.assert_close(mixed[i, :, y, x], g * images[i, :, y, x] + (1 - g) * images[j, :, y, x])
        lam = sum(mask[i].flatten().tolist()) / 20
        torch.testing.assert_close(mixed_targets[i], lam * targets[i] + (1 - lam) * targets[j])


def test_a_constant_dimension_of_the_mask_is_broadcast():
    images, targets, partner = torch.randn(4, 3, 6, 6), torch.eye(4), torch.tensor([1, 2, 3, 0])
    weights = torch.tensor([0.0, 0.25, 0.5, 1.0])[:, None, None, None]
    narrow = blend(images, targets, partner, weights)
    wide = blend(images, targets, partner, weights.expand(4, 1, 6, 6))
    assert torch.equal(narrow[0], wide[0])
    torch.testing.assert_close(narrow[1], wide[1])
    assert label_weight(weights).tolist() == [0.0, 0.25, 0.5, 1.0]


def test_the_label_follows_the_mask_as_it_is_rounded():
    """0.3 is 0.30078125 in bfloat16: that is the share of the pixels, so it is the weight of the label."""
    images = torch.eye(2)[:, :, None, None].expand(2, 2, 3, 3).bfloat16()
    mixed, targets = blend(images, torch.eye(2), torch.tensor([1, 0]), torch.full((1, 1, 1, 1), 0.3))
    assert mixed[0, 0].unique().tolist() == [0.30078125]
    assert targets[0].tolist() == [0.30078125, 1 - 0.30078125]


def test_identity_and_label_smoothing_return_the_images_themselves():
    images = torch.randn(3, 3, 4, 4)
    assert LabelSmoothing(num_classes=3)(images, torch.tensor([2, 0, 1]))[0] is images
    same, targets = Identity(num_classes=3)(images, torch.tensor([2, 0, 1]))
    assert same is images
    assert targets.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("method", ALL)
def test_the_gradient_is_that_of_a_linear_map(method, per_sample):
    """With the draws fixed, mixing is linear: <weights, mix(x)> = <gradient, x> for every x."""
    strategy = method(num_classes=4, p=1.0, per_sample=per_sample)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    images, others, weights = torch.randn(3, 4, 3, 12, 12, dtype=torch.float64)
    images.requires_grad_()

    def mix(x):
        torch.set_rng_state(state)
        return strategy(x, torch.arange(4))[0]

    (gradient,) = torch.autograd.grad((mix(images) * weights).sum(), images)
    for x in (images.detach(), others):
        torch.testing.assert_close((gradient * x).sum(), (mix(x) * weights).sum())


@pytest.mark.parametrize("label", [3, -1])
def test_where_values_may_not_be_read_a_label_outside_the_classes_makes_the_loss_nan(label, monkeypatch):
    monkeypatch.setattr(import_module("smoothmix.mixing.blend"), "may_read", lambda tensor: False)
    images, labels = torch.zeros(3, 1, 2, 2), torch.tensor([2, label, 0])
    targets = to_targets(images, labels, 3)
    assert targets.isnan().tolist() == [[False] * 3, [True] * 3, [False] * 3]
    assert targets[::2].tolist() == [[0, 0, 1], [1, 0, 0]]
    for method in (Identity, LabelSmoothing, SmoothMixC):
        _, targets = method(num_classes=3)(images, labels)
        assert torch.nn.functional.cross_entropy(torch.zeros(3, 3), targets).isnan()


def same_bits(left, right):
    """Equal values, signs of zeros included; a NaN equals a NaN."""
    return (
        torch.equal(left.nan_to_num(7.0), right.nan_to_num(7.0))
        and torch.equal(left.isnan(), right.isnan())
        and (torch.equal(left.signbit() & ~left.isnan(), right.signbit() & ~right.isnan()))
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("large", [0, 2**30])
@pytest.mark.parametrize("method", [CutMix, Mixup, SmoothMixC, SmoothMixS])
def test_the_same_bits_as_on_a_gpu(method, large, per_sample, memory_format, dtype, monkeypatch):
    monkeypatch.setattr(ON_CPU, "LARGE", large)
    images = awkward_images(dtype, 6).contiguous(memory_format=memory_format)
    partner = torch.tensor([3, 1, 5, 0, 2, 4])
    before = images.clone()
    kinds = set()
    for seed in range(20):
        strategy = method(num_classes=6, p=0.8, per_sample=per_sample, generator=seeded(seed))
        mask = strategy.draw_mask(images).to(dtype)
        kinds.add((bool((mask == 0).any()), bool((mask == 1).any()), bool(((mask > 0) & (mask < 1)).any())))
        mixed, _ = blend(images, torch.eye(6), partner, mask)
        assert same_bits(mixed, mix_images(images, partner, mask))
        assert mixed.is_contiguous(memory_format=memory_format)
    assert len(kinds) > 1 or per_sample  # masks with and without zeros, ones, or values between
    assert same_bits(images, before)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.3])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 9, 7), (6, 1, 1, 1), (6, 1, 9, 7), (1, 1, 9, 1)])
def test_constant_masks(shape, value):
    images, partner = awkward_images(torch.float32, 6), torch.tensor([3, 1, 5, 0, 2, 4])
    mask = torch.full(shape, value)
    mixed, _ = blend(images, torch.eye(6), partner, mask)
    assert same_bits(mixed, mix_images(images, partner, mask))


@pytest.mark.parametrize("large", [0, 2**30])
@pytest.mark.parametrize("samples", [1, 6])
def test_masks_whose_zeros_and_ones_fill_no_box(samples, large, monkeypatch):
    monkeypatch.setattr(ON_CPU, "LARGE", large)
    images, partner, draw = awkward_images(torch.float32, 6), torch.tensor([3, 1, 5, 0, 2, 4]), seeded()
    for values in ((0.0, 1.0), (0.0, 0.4), (0.4, 1.0), (0.0, 0.4, 1.0)):
        mask = torch.tensor(values)[torch.randint(len(values), (samples, 1, 9, 7), generator=draw)]
        mask[:, :, :2, 3:] = values[0]
        mixed, _ = blend(images, torch.eye(6), partner, mask)
        assert same_bits(mixed, mix_images(images, partner, mask))


def test_the_box_holds_what_is_true_and_no_more():
    assert _box([False, True, False, True], [True, False]) == (..., slice(1, 4), slice(0, 1))
    assert _box([False], [True]) == (..., slice(0), slice(0, 1))
