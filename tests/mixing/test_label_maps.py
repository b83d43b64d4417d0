"""Label maps, as of segmentation: at every pixel the weight of a label is the share of its image's pixel."""

from importlib import import_module

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torchvision import tv_tensors

from smoothmix import (
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
from smoothmix.mixing.blend import mix_images
from tests.mixing.strategies import ALL, seeded
from tests.mixing.test_device import NoHostReads

BLENDING = (Mixup, CutMix, SmoothMixC, SmoothMixS)
KEEPING = (Cutout, HideAndSeek, Identity)  # the label map
VOID = 255


def batch(n=3, height=5, width=4, classes=3):
    draw = seeded(1)
    maps = torch.randint(classes, (n, height, width), generator=draw)
    maps[torch.rand(n, height, width, generator=draw) < 0.3] = VOID
    return torch.randn(n, 3, height, width, generator=draw), maps


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("method", [*BLENDING, *KEEPING])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_pixel_beside_a_slow_loop(method, per_sample, dtype):
    images, maps = batch()
    images = images.to(dtype)
    strategy = method(num_classes=3, p=1.0, per_sample=per_sample, ignore_index=VOID, generator=seeded())
    mixed, targets = strategy(images, maps)
    assert (targets.shape, targets.dtype) == ((3, 3, 5, 4), torch.float32)
    strategy.generator = seeded()
    partner, mask = range(3), torch.ones(1, 1, 1, 1)
    if method in BLENDING:
        mask = strategy.draw_mask(images).to(dtype).float()
        partner = strategy.draw_partner(images).tolist()
    mask = mask.expand(3, 1, 5, 4)
    for i, j in enumerate(partner):
        for y in range(5):
            for x in range(4):
                expected = [0.0] * 3
                for image, weight in ((i, float(mask[i, 0, y, x])), (j, 1 - float(mask[i, 0, y, x]))):
                    if maps[image, y, x] != VOID:
                        expected[maps[image, y, x]] += weight
                assert targets[i, :, y, x].tolist() == pytest.approx(expected, abs=1e-6)
    strategy.generator = seeded()
    assert torch.equal(mixed, strategy(images, torch.zeros(3, dtype=torch.long))[0])  # whatever the labels are


@pytest.mark.parametrize("method", BLENDING)
def test_probabilities_and_their_mean(method):
    """Maps of one class each are the labels of classification, spread over the pixels."""
    images, labels = batch()[0], torch.tensor([2, 0, 1])

    def targets(of):
        return method(num_classes=3, p=1.0, generator=seeded())(images, of)[1]

    maps = labels[:, None, None].expand(3, 5, 4)
    torch.testing.assert_close(targets(maps).mean(dim=(2, 3)), targets(labels))
    soft = F.one_hot(maps, 3).permute(0, 3, 1, 2).half()
    assert torch.equal(targets(soft), targets(maps))


def test_two_cross_entropies_cost_no_classes():
    """The pair form of docs/methods.md has the loss of the targets."""
    images, maps = batch()
    logits = torch.randn(3, 3, 5, 4, generator=seeded(2))
    mixed, targets = SmoothMixC(num_classes=3, p=1.0, ignore_index=VOID, generator=seeded())(images, maps)
    mix = SmoothMixC(num_classes=3, p=1.0, generator=seeded())
    mask, partner = mix.draw_mask(images), mix.draw_partner(images)
    assert torch.equal(mix_images(images, partner, mask), mixed)
    share = mask.to(images.dtype).float()[:, 0]
    own, other = (F.cross_entropy(logits, of, reduction="none", ignore_index=VOID) for of in (maps, maps[partner]))
    torch.testing.assert_close((share * own + (1 - share) * other).mean(), F.cross_entropy(logits, targets))


def test_label_smoothing_leaves_ignored_pixels_out():
    images, maps = batch()
    logits = torch.randn(3, 3, 5, 4, generator=seeded(2))
    _, targets = LabelSmoothing(num_classes=3, smoothing=0.2, ignore_index=VOID)(images, maps)
    torch.testing.assert_close(
        F.cross_entropy(logits, targets, reduction="sum"),
        F.cross_entropy(logits, maps, reduction="sum", ignore_index=VOID, label_smoothing=0.2),
    )


@pytest.mark.parametrize("layer", [0, 1])
def test_manifold_mixup(layer):
    images, maps = batch()
    network = nn.Sequential(nn.Conv2d(3, 3, 1))
    mix = ManifoldMixup(num_classes=3, stages=["0"], ignore_index=VOID, generator=seeded())
    mix.attach(network)
    mix.draw_layer = lambda: layer
    targets = mix(images, maps)[1]
    network(images)
    mix.generator = seeded()
    weight, partner = mix.draw_mask(images), mix.draw_partner(images)
    weight = weight.bfloat16().float() if layer else weight
    hot = torch.stack([maps == k for k in range(3)], dim=1).float()
    torch.testing.assert_close(targets, weight * hot + (1 - weight) * hot[partner])


def test_maps_of_other_types_and_an_ignored_class():
    images, maps = batch()
    mix = CutMix(num_classes=3, ignore_index=VOID, generator=seeded())
    expected = mix(images, maps)[1]
    for same in (maps.to(torch.uint8), tv_tensors.Mask(maps)):
        mix.generator = seeded()
        assert torch.equal(mix(images, same)[1], expected)
    background = maps.where(maps != VOID, 0)
    targets = Identity(num_classes=3, ignore_index=0)(images, background)[1]
    assert torch.equal(targets, torch.stack([torch.zeros_like(maps), background == 1, background == 2], dim=1).float())
    assert torch.equal(Identity(num_classes=200)(images, torch.full_like(maps, 156).byte())[1].argmax(1).unique(),
                       torch.tensor([156]))  # fmt: skip


@pytest.mark.parametrize("method", ALL)
def test_nothing_is_read_on_a_gpu(method, monkeypatch):
    strategy = method(num_classes=3, p=0.5, ignore_index=VOID)
    with FakeTensorMode():
        maps = torch.zeros(3, 5, 4, dtype=torch.long, device="cuda")
        targets = strategy(torch.empty(3, 3, 5, 4, dtype=torch.float16, device="cuda"), maps)[1]
    assert (targets.shape, targets.device.type) == ((3, 3, 5, 4), "cuda")
    monkeypatch.setattr(import_module("smoothmix.mixing.blend"), "may_read", lambda images: False)
    with NoHostReads():
        strategy(*batch())


def test_compiled():
    torch.compiler.reset()
    strategy = SmoothMixC(num_classes=3, ignore_index=VOID)
    compiled = torch.compile(strategy, backend="aot_eager")
    for seed in range(4):
        torch.manual_seed(seed)
        expected = strategy(*batch())
        torch.manual_seed(seed)
        for ours, theirs in zip(compiled(*batch()), expected, strict=True):
            assert torch.equal(ours, theirs)
