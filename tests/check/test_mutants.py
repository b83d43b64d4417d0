"""The laws bite: faults of public mixing code, built into this package's strategies, each break one."""

from functools import partial

import pytest
import torch

from smoothmix import CutMix, Mixup, SmoothMixC
from smoothmix.check import LAWS
from smoothmix.check.subject import Broken, Subject
from smoothmix.mixing.blend import blend, label_weight, mix_images, mix_targets, to_targets

MUTANTS = []


def breaks(law):
    """Register a mutant with the law that it must break."""

    def register(mutant):
        MUTANTS.append(pytest.param(law, mutant, id=mutant.__name__))
        return mutant

    return register


class Mutable(SmoothMixC):
    """SmoothMix_C with a place for a fault after the draws."""

    def __call__(self, images, labels):
        targets = to_targets(images, labels, self.num_classes)
        mask, partner = self.draw_mask(images), self.draw_partner(images)
        return self.mixed(images, targets, partner, mask)


@breaks("label_weight")
class SwappedLabels(Mutable):
    def mixed(self, images, targets, partner, mask):
        return blend(images, targets, partner, mask)[0], mix_targets(targets, partner, 1 - label_weight(mask))


@breaks("label_weight")
class WeightBeforeClipping(CutMix):
    def beta(self, n, alpha, device):
        self.lam = super().beta(n, alpha, device)
        return self.lam

    def __call__(self, images, labels):
        targets, mask, partner = self.drawn(images, labels)
        weight = torch.where((mask == 1).flatten(1).all(1), 1.0, self.lam)
        return mix_images(images, partner, mask), mix_targets(targets, partner, weight)

    def drawn(self, images, labels):
        return to_targets(images, labels, self.num_classes), self.draw_mask(images), self.draw_partner(images)


@breaks("label_weight")
class LabelsOfAnotherPermutation(Mutable):
    def mixed(self, images, targets, partner, mask):
        return mix_images(images, partner, mask), mix_targets(targets, self.draw_partner(images), label_weight(mask))


@breaks("rounding")
class MaskRoundedAfterTheLabel(Mixup):
    def __call__(self, images, labels):
        targets = to_targets(images, labels, self.num_classes)
        mask, partner = self.draw_mask(images), self.draw_partner(images)
        return mix_images(images, partner, mask), mix_targets(targets, partner, label_weight(mask))


@breaks("row_sum")
class WeightsThatDoNotSumToOne(Mutable):
    def mixed(self, images, targets, partner, mask):
        weight = label_weight(mask)[:, None]
        return mix_images(images, partner, mask), weight * targets + weight * targets[partner]


@breaks("row_sum")
class NegativeWeight(Mixup):
    def beta(self, n, alpha, device):
        return super().beta(n, alpha, device) * 1.1


@breaks("soft")
class HardensSoftLabels(SmoothMixC):
    def __call__(self, images, labels):
        return super().__call__(images, labels.argmax(dim=1) if labels.ndim == 2 else labels)


@breaks("soft")
class DrawsMoreForSoftLabels(SmoothMixC):
    def __call__(self, images, labels):
        if labels.ndim == 2:
            self.uniform(1, 0, 1, "cpu")
        return super().__call__(images, labels)


@breaks("any_batch")
class EvenBatchesOnly(SmoothMixC):
    def draw_partner(self, images):
        assert len(images) % 2 == 0, "the batch size must be even"
        return super().draw_partner(images)


@breaks("any_batch")
class SquareImagesOnly(SmoothMixC):
    def sample(self, n, size, device):
        return super().sample(n, (size[0], size[0]), device)


@breaks("input_kept")
class InPlace(SmoothMixC):
    def __call__(self, images, labels):
        mixed, targets = super().__call__(images, labels)
        return images.copy_(mixed), targets


@breaks("input_kept")
class LabelsInPlace(SmoothMixC):
    def __call__(self, images, labels):
        result = super().__call__(images, labels)
        labels.zero_()
        return result


@breaks("format_kept")
class AlwaysFloat32(SmoothMixC):
    def __call__(self, images, labels):
        mixed, targets = super().__call__(images, labels)
        return mixed.float(), targets


@breaks("format_kept")
class LosesChannelsLast(Mutable):
    def mixed(self, images, targets, partner, mask):
        mixed, targets = blend(images, targets, partner, mask)
        return mixed.contiguous(), targets


@breaks("seed")
class SeedIgnored(SmoothMixC):
    def __init__(self, *, generator=None, **arguments):
        super().__init__(**arguments)


@breaks("seed")
class SeedIgnoredForPairs(SmoothMixC):
    def draw_partner(self, images):
        return torch.randperm(len(images))


@breaks("seed")
class OneSeedForAll(SmoothMixC):
    def __call__(self, images, labels):
        self.generator.manual_seed(0)
        return super().__call__(images, labels)


@breaks("p")
class PSquared(SmoothMixC):
    def sample(self, n, size, device):
        coin = self.uniform(n, 0, 1, device) < self.p
        return super().sample(n, size, device).masked_fill(~coin[:, None, None, None], 1)


@breaks("p")
class PInverted(SmoothMixC):
    def __init__(self, *, p=0.5, **arguments):
        super().__init__(p=1 - p, **arguments)


@breaks("p")
class MixesAtMostHalf(SmoothMixC):
    def __init__(self, *, p=0.5, **arguments):
        super().__init__(p=min(p, 0.5), **arguments)


@breaks("pairs")
class Flip(SmoothMixC):
    def draw_partner(self, images):
        return torch.arange(len(images)).flip(0)


@breaks("pairs")
class Roll(SmoothMixC):
    def draw_partner(self, images):
        return torch.arange(len(images)).roll(1)


@breaks("positions")
class HeightAndWidthSwapped(SmoothMixC):
    def sample_center(self, n, size, device):
        return super().sample_center(n, size[::-1], device)


@breaks("positions")
class HeightAndWidthSwappedInCutMix(CutMix):
    def whole(self, n, below, device):
        return super().whole(n, {8: 16, 16: 8}[below], device)


@breaks("positions")
class NoBorder(CutMix):
    """The box lies inside the image, and its upper left corner is never drawn as far as it could be."""

    def sample(self, n, size, device):
        masks = torch.ones(n, 1, *size)
        for mask, lam in zip(masks, self.beta(n, self.alpha, device), strict=True):
            height, width = (int((1 - lam) ** 0.5 * side) for side in size)
            y, x = (int(self.uniform(1, 0, a - b, device)) for a, b in zip(size, (height, width), strict=True))
            mask[0, y : y + height, x : x + width] = 0
        return masks


@breaks("independent")
class OneMaskForAll(SmoothMixC):
    def sample(self, n, size, device):
        return super().sample(1, size, device).expand(n, -1, -1, -1)


@breaks("independent")
class OneHeightForAll(SmoothMixC):
    def sample_center(self, n, size, device):
        y, x = super().sample_center(n, size, device)
        return y[:1].expand(n), x


@breaks("coin")
class OneCoinForAll(SmoothMixC):
    def draw_mask(self, images):
        mask = self.sample(len(images) if self.per_sample else 1, tuple(images.shape[-2:]), images.device)
        coin = self.uniform(1, 0, 1, images.device) < self.p
        return mask.masked_fill(~coin[:, None, None, None], 1)


@breaks("independent")
class OneMaskForAPair(SmoothMixC):
    def sample(self, n, size, device):
        half = super().sample((n + 1) // 2, size, device)
        return torch.cat([half, half.flip(0)])[:n]


@breaks("arguments")
class SigmaIgnored(SmoothMixC):
    def sample_sigma(self, n, size, device):
        return self.uniform(n, 0.25, 0.5, device) * min(size)


@breaks("arguments")
class PerSampleIgnored(SmoothMixC):
    def __init__(self, *, per_sample=False, **arguments):
        super().__init__(per_sample=False, **arguments)


@breaks("compile")
class AnotherUnderTheCompiler(SmoothMixC):
    def sample(self, n, size, device):
        mask = super().sample(n, size, device)
        return 1 - mask if torch.compiler.is_dynamo_compiling() else mask


@breaks("export")
class ReadsTheMask(SmoothMixC):
    def sample(self, n, size, device):
        mask = super().sample(n, size, device)
        return mask if mask.mean() > 0.5 else 1 - mask


LAW = {law.name: law for law in LAWS}


@pytest.mark.parametrize(("law", "mutant"), MUTANTS)
def test_each_mutant_dies(law, mutant):
    with pytest.raises(Broken):
        LAW[law].check(Subject(partial(mutant), {}, {}))


def test_each_law_kills_one():
    assert {parameter.values[0] for parameter in MUTANTS} == set(LAW)
