"""The laws bite: faults of public mixing code, built into this package's strategies, each break one."""

import pytest
import torch

from smoothmix import CutMix, Mixup, SmoothMixC
from smoothmix.check import LAWS
from smoothmix.check.subject import Broken, Subject
from smoothmix.mixing.blend import blend, label_weight, mix_images, mix_targets

MUTANTS = []


def breaks(law):
    """Register a mutant with the law that it must break."""

    def register(mutant):
        MUTANTS.append(pytest.param(law, mutant, id=mutant.__name__))
        return mutant

    return register


class Mutable(CutMix):
    """CutMix with a place for a fault after the draws."""

    def __call__(self, images, labels):
        targets = self.targets(images, labels)
        mask, partner = self.draw_mask(images), self.draw_partner(images)
        return self.mixed(images, targets, partner, mask)

    def mixed(self, images, targets, partner, mask):
        return mix_images(images, partner, mask), mix_targets(targets, partner, self.weight(images, mask))

    def weight(self, images, mask):
        return label_weight(mask)


@breaks("label_weight")
class SwappedLabels(Mutable):
    def weight(self, images, mask):
        return 1 - label_weight(mask)


@breaks("label_weight")
class WeightsSwappedFrom32Pixels(Mutable):
    def weight(self, images, mask):
        weight = label_weight(mask)
        return 1 - weight if images.shape[-1] >= 32 else weight


@breaks("label_weight")
class WeightBeforeClipping(Mutable):
    def beta(self, n, alpha, device):
        self.lam = super().beta(n, alpha, device)
        return self.lam

    def weight(self, images, mask):
        return torch.where((mask == 1).flatten(1).all(1), 1.0, self.lam)


@breaks("label_weight")
class LabelsOfAnotherPermutation(Mutable):
    def mixed(self, images, targets, partner, mask):
        return mix_images(images, partner, mask), mix_targets(targets, self.draw_partner(images), label_weight(mask))


@breaks("label_weight")
class LabelsRolledInBatchesAbove8(CutMix):
    above = 8

    def __call__(self, images, labels):
        mixed, targets = super().__call__(images, labels)
        return mixed, targets.roll(1, 0) if len(images) > self.above else targets


@breaks("label_weight")
class LabelsRolledInBatchesAbove64(LabelsRolledInBatchesAbove8):
    above = 64


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
class HardensSoftLabels(CutMix):
    def __call__(self, images, labels):
        return super().__call__(images, labels.argmax(dim=1) if labels.ndim == 2 else labels)


@breaks("soft")
class DrawsMoreForSoftLabels(CutMix):
    def __call__(self, images, labels):
        if labels.ndim == 2:
            self.uniform(1, 0, 1, "cpu")
        return super().__call__(images, labels)


@breaks("dense")
class OneWeightForAllPixels(Mutable):
    def mixed(self, images, targets, partner, mask):
        return mix_images(images, partner, mask), mix_targets(targets, partner, label_weight(mask))


@breaks("dense")
class PixelsIgnoredWhereOneOfTheTwoIs(SmoothMixC):
    def __call__(self, images, labels):
        mixed, targets = super().__call__(images, labels)
        return mixed, targets * (targets.sum(dim=1, keepdim=True) > 0.999)


@breaks("seed")
class SeedIgnored(CutMix):
    def __init__(self, *, generator=None, **arguments):
        super().__init__(**arguments)


@breaks("seed")
class SeedIgnoredForPairs(CutMix):
    def draw_partner(self, images):
        return torch.randperm(len(images))


@breaks("seed")
class OneSeedForAll(CutMix):
    def __call__(self, images, labels):
        self.generator.manual_seed(0)
        return super().__call__(images, labels)


@breaks("p")
class PSquared(CutMix):
    def sample(self, n, size, device):
        coin = self.uniform(n, 0, 1, device) < self.p
        return super().sample(n, size, device).masked_fill(~coin[:, None, None, None], 1)


@breaks("p")
class PInverted(CutMix):
    def __init__(self, *, p=0.5, **arguments):
        super().__init__(p=1 - p, **arguments)


@breaks("p")
class MixesAtMostHalf(CutMix):
    def __init__(self, *, p=0.5, **arguments):
        super().__init__(p=min(p, 0.5), **arguments)


@breaks("p")
class POfTheFirstImageOnly(SmoothMixC):
    def draw_mask(self, images):
        masks = self.sample(len(images), tuple(images.shape[-2:]), images.device)
        masks[:1].masked_fill_(self.uniform(1, 0, 1, images.device) >= self.p, 1)
        return masks


@breaks("pairs")
class Flip(CutMix):
    def draw_partner(self, images):
        return torch.arange(len(images)).flip(0)


@breaks("pairs")
class RollInBatchesAbove8(CutMix):
    def draw_partner(self, images):
        return torch.arange(len(images)).roll(1) if len(images) > 8 else super().draw_partner(images)


@breaks("positions")
class HeightAndWidthSwapped(SmoothMixC):
    def sample_center(self, n, size, device):
        return super().sample_center(n, size[::-1], device)


@breaks("positions")
class HeightAndWidthSwappedInCutMix(CutMix):
    def whole(self, n, below, device):
        return super().whole(n, {8: 16, 16: 8}.get(below, below), device)


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


@breaks("positions")
class LastColumnLeftOutFrom32Pixels(CutMix):
    def sample(self, n, size, device):
        last = torch.arange(size[1]) == (size[1] - 1 if size[1] >= 32 else -1)
        return super().sample(n, size, device).masked_fill(last, 1)


@breaks("positions")
class UpperHalfOfTallImages(CutMix):
    def sample(self, n, size, device):
        self.tall = size[0] if size[0] > size[1] else None
        return super().sample(n, size, device)

    def whole(self, n, below, device):
        return super().whole(n, (below + 1) // 2 if below == self.tall else below, device)


@breaks("independent")
class OneMaskForAll(SmoothMixC):
    def sample(self, n, size, device):
        return super().sample(1, size, device).expand(n, -1, -1, -1)


@breaks("independent")
class OneHeightForAll(SmoothMixC):
    def sample_center(self, n, size, device):
        y, x = super().sample_center(n, size, device)
        return y[:1].expand(n), x


@breaks("independent")
class OneMaskForAPair(CutMix):
    def sample(self, n, size, device):
        half = super().sample((n + 1) // 2, size, device)
        return torch.cat([half, half.flip(0)])[:n]


@breaks("independent")
class OneMaskForBothHalves(CutMix):
    def sample(self, n, size, device):
        return super().sample((n + 1) // 2, size, device).repeat(2, 1, 1, 1)[:n]


@breaks("independent")
class OneMaskForAllLaterImages(CutMix):
    def sample(self, n, size, device):
        return super().sample(2, size, device)[torch.arange(n).clamp_max(1)]


@breaks("coin")
class OneCoinForAll(CutMix):
    def draw_mask(self, images):
        mask = self.sample(len(images) if self.per_sample else 1, tuple(images.shape[-2:]), images.device)
        coin = self.uniform(1, 0, 1, images.device) < self.p
        return mask.masked_fill(~coin[:, None, None, None], 1)


@breaks("arguments")
class SigmaIgnored(SmoothMixC):
    def sample_sigma(self, n, size, device):
        return self.uniform(n, 0.25, 0.5, device) * min(size)


@breaks("arguments")
class PerSampleIgnored(CutMix):
    def __init__(self, *, per_sample=False, **arguments):
        super().__init__(per_sample=False, **arguments)


@breaks("share")
class AreaOfTheWrongSide(CutMix):
    """The box has the sides (1 - lam) * (H, W), so that its area is the square of what it should be."""

    def beta(self, n, alpha, device):
        return 1 - (1 - super().beta(n, alpha, device)) ** 2


@breaks("any_batch")
class EvenBatchesOnly(CutMix):
    def draw_partner(self, images):
        assert len(images) % 2 == 0, "the batch size must be even"
        return super().draw_partner(images)


@breaks("any_batch")
class SquareImagesOnly(SmoothMixC):
    def sample(self, n, size, device):
        return super().sample(n, (size[0], size[0]), device)


@breaks("input_kept")
class InPlace(CutMix):
    def __call__(self, images, labels):
        mixed, targets = super().__call__(images, labels)
        return images.copy_(mixed), targets


@breaks("input_kept")
class LabelsInPlace(CutMix):
    def __call__(self, images, labels):
        result = super().__call__(images, labels)
        labels.zero_()
        return result


@breaks("format_kept")
class AlwaysFloat32(CutMix):
    def __call__(self, images, labels):
        mixed, targets = super().__call__(images, labels)
        return mixed.float(), targets


@breaks("format_kept")
class LosesChannelsLast(CutMix):
    def __call__(self, images, labels):
        mixed, targets = super().__call__(images, labels)
        return mixed.contiguous(), targets


@breaks("format_kept")
class TargetsInHalfPrecision(CutMix):
    def __call__(self, images, labels):
        mixed, targets = super().__call__(images, labels)
        return mixed, targets.to(images.dtype)


@breaks("rounding")
class MaskRoundedAfterTheLabel(Mixup):
    def __call__(self, images, labels):
        targets = self.targets(images, labels)
        mask, partner = self.draw_mask(images), self.draw_partner(images)
        return mix_images(images, partner, mask), mix_targets(targets, partner, label_weight(mask))


@breaks("rounding")
class MeanInTheImagesDtype(Mutable):
    def weight(self, images, mask):
        return mask.to(images.dtype).mean(dim=(1, 2, 3)).float()


@breaks("gradient")
class GradientCut(CutMix):
    def __call__(self, images, labels):
        return super().__call__(images.detach(), labels)


@breaks("gradient")
class GradientOfThePartnerCut(Mutable):
    def mixed(self, images, targets, partner, mask):
        return torch.where(mask == 1, images, images[partner].detach()), blend(images, targets, partner, mask)[1]


@breaks("compile")
class AnotherUnderTheCompiler(CutMix):
    def sample(self, n, size, device):
        mask = super().sample(n, size, device)
        return 1 - mask if torch.compiler.is_dynamo_compiling() else mask


@breaks("export")
class ReadsTheMask(CutMix):
    def sample(self, n, size, device):
        mask = super().sample(n, size, device)
        return mask if mask.mean() > 0.5 else 1 - mask


LAW = {law.name: law for law in LAWS}
SHARE_OF_CUTMIX = 0.6996  # on 32 x 32, see test_check_mixing.py


@pytest.mark.parametrize(("law", "mutant"), MUTANTS)
def test_each_mutant_dies(law, mutant):
    with pytest.raises(Broken):
        LAW[law].check(Subject(mutant, SHARE_OF_CUTMIX))


def test_each_law_kills_one():
    assert {parameter.values[0] for parameter in MUTANTS} == set(LAW)
