"""On a CPU the mask is read and what it does not need left out: the same bits as without."""

import pytest
import torch

from smoothmix import CutMix, Mixup, SmoothMixC, SmoothMixS, box_mask
from smoothmix.mixing import blend, mix_images
from smoothmix.mixing.blend import _box

METHODS = (CutMix, Mixup, SmoothMixC, SmoothMixS)
SPECIALS = (float("nan"), float("inf"), -float("inf"), -0.0, 0.0, 3e38, -3e38)


def same_bits(left, right):
    """Equal values, signs of zeros included; a NaN equals a NaN."""
    return (
        torch.equal(left.nan_to_num(7.0), right.nan_to_num(7.0))
        and torch.equal(left.isnan(), right.isnan())
        and (torch.equal(left.signbit() & ~left.isnan(), right.signbit() & ~right.isnan()))
    )


def some_images(dtype, memory_format):
    images = torch.randn(6, 3, 11, 13, generator=torch.Generator().manual_seed(0))
    images.view(-1)[::5] = torch.tensor(SPECIALS).repeat(100)[: len(images.view(-1)[::5])]
    return images.to(dtype).contiguous(memory_format=memory_format)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_the_same_bits_as_on_a_gpu(method, per_sample, memory_format, dtype):
    images, partner = some_images(dtype, memory_format), torch.tensor([3, 1, 5, 0, 2, 4])
    before = images.clone()
    kinds = set()
    for seed in range(20):
        strategy = method(num_classes=6, p=0.8, per_sample=per_sample, generator=torch.Generator().manual_seed(seed))
        mask = strategy.draw_mask(images).to(dtype)
        kinds.add((bool((mask == 0).any()), bool((mask == 1).any()), bool(((mask > 0) & (mask < 1)).any())))
        mixed, _ = blend(images, torch.eye(6), partner, mask)
        assert same_bits(mixed, mix_images(images, partner, mask))
        assert mixed.is_contiguous(memory_format=memory_format)
    assert len(kinds) > 1 or per_sample  # masks with and without zeros, ones, or values between
    assert same_bits(images, before)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.3])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 11, 13), (6, 1, 1, 1), (6, 1, 11, 13), (1, 1, 11, 1)])
def test_constant_masks(shape, value):
    images, partner = some_images(torch.float32, torch.contiguous_format), torch.tensor([3, 1, 5, 0, 2, 4])
    mask = torch.full(shape, value)
    mixed, _ = blend(images, torch.eye(6), partner, mask)
    assert same_bits(mixed, mix_images(images, partner, mask))


def test_the_box_holds_what_is_true_and_no_more():
    mask = box_mask((20, 30), (torch.tensor([6.0, 9.0]), torch.tensor([10.0, 20.0])), (4, 6))
    assert _box(mask == 1) == (..., slice(4, 11), slice(7, 23))  # of both samples
    assert _box(mask[:1] == 1) == (..., slice(4, 8), slice(7, 13))
    assert _box(mask == 2) == (..., slice(0), slice(0))
