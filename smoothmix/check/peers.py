"""Adapters for the mixing operations of other libraries, in the form that `check_mixing` takes.

Each takes the arguments that its operation has: where there is no `generator` the global generators are seeded. The
libraries are imported when an adapter is called, so that none is needed for the others.
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from smoothmix.check.adapters import Make, declare
from smoothmix.check.subject import Operation

INDICES = "takes class indices only"
DENSE = "takes class indices; dense rows have a mode of their own"
IN_PLACE = "mixes in place on purpose"
GATE = "p is documented as one gate for the whole batch"
NOT_MEASURED = "not measured: calls .cuda(), and the compilers see through a stand-in for it"


def two_labels(num_classes: int, mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Any]]) -> Operation:
    """Turn an operation that returns (images, labels a, labels b, weight of a) into one that returns targets."""

    def operation(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        mixed, a, b, weight = mix(images, labels)
        a, b = (x if x.ndim == 2 else one_hot(x.long(), num_classes).float() for x in (a, b))
        weight = torch.as_tensor(weight, dtype=torch.float32).view(-1, 1)
        return mixed, weight * a + (1 - weight) * b

    return operation


def _torchvision(name: str) -> Make:
    def make(*, num_classes: int, alpha: float = 1.0) -> Operation:
        from torchvision.transforms import v2

        operation: Operation = getattr(v2, name)(num_classes=num_classes, alpha=alpha)
        return operation

    return make


@declare(soft=DENSE, input_kept=IN_PLACE)
def timm_mixup(*, num_classes: int, p: float = 1.0, per_sample: bool = False, mixup_alpha: float = 1.0) -> Operation:
    """Build timm's Mixup, mode "batch" or "elem"."""
    return _timm(num_classes, p, "elem" if per_sample else "batch", mixup_alpha=mixup_alpha)


@declare(soft=DENSE, input_kept=IN_PLACE)
def timm_cutmix(*, num_classes: int, p: float = 1.0, per_sample: bool = False, cutmix_alpha: float = 1.0) -> Operation:
    """Build timm's Mixup with CutMix alone, mode "batch" or "elem"."""
    return _timm(num_classes, p, "elem" if per_sample else "batch", mixup_alpha=0.0, cutmix_alpha=cutmix_alpha)


@declare(soft=DENSE, input_kept=IN_PLACE)
def timm_mixup_pair(*, num_classes: int, p: float = 1.0, mixup_alpha: float = 1.0) -> Operation:
    """Build timm's Mixup, mode "pair"."""
    return _timm(num_classes, p, "pair", mixup_alpha=mixup_alpha)


@declare(soft=DENSE, input_kept=IN_PLACE)
def timm_cutmix_pair(*, num_classes: int, p: float = 1.0, cutmix_alpha: float = 1.0) -> Operation:
    """Build timm's Mixup with CutMix alone, mode "pair"."""
    return _timm(num_classes, p, "pair", mixup_alpha=0.0, cutmix_alpha=cutmix_alpha)


def _timm(num_classes: int, p: float, mode: str, **alphas: float) -> Operation:
    from timm.data.mixup import Mixup

    mixup: Operation = Mixup(num_classes=num_classes, prob=p, mode=mode, label_smoothing=0.0, **alphas)
    return mixup


@declare(soft=INDICES, coin=GATE)
def kornia_mixup(
    *, num_classes: int, p: float = 1.0, per_sample: bool = True, lambda_val: tuple[float, float] = (0.0, 1.0)
) -> Operation:
    """Build kornia's RandomMixUpV2."""
    return _kornia("RandomMixUpV2", num_classes, per_sample, p=p, lambda_val=lambda_val)


@declare(soft=INDICES, coin=GATE)
def kornia_cutmix(
    *,
    num_classes: int,
    p: float = 1.0,
    per_sample: bool = True,
    beta: float = 1.0,
    cut_size: tuple[float, float] = (0.0, 1.0),
) -> Operation:
    """Build kornia's RandomCutMixV2 as its documentation describes the default lambda: the area of the cut."""
    return _kornia("RandomCutMixV2", num_classes, per_sample, p=p, beta=beta, cut_size=cut_size)


def _kornia(name: str, num_classes: int, per_sample: bool, **arguments: Any) -> Operation:
    from kornia import augmentation

    operation = getattr(augmentation, name)(same_on_batch=not per_sample, data_keys=["input", "class"], **arguments)

    def mix(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mixed, rows = operation(images, labels)
        (rows,) = rows if rows.ndim == 3 else (rows,)  # CutMix has rows for each of its cuts
        return mixed, rows[:, 0], rows[:, 1], 1 - rows[:, 2]

    return two_labels(num_classes, mix)


@declare(
    pairs="images have no partner",
    soft="takes images only, labels stay",
    any_batch="sides must be multiples of the grid's, as documented",
)
def kornia_jigsaw(
    *, num_classes: int, p: float = 1.0, per_sample: bool = True, grid: tuple[int, int] = (2, 2)
) -> Operation:
    """Build kornia's RandomJigsaw."""
    from kornia.augmentation import RandomJigsaw

    jigsaw = RandomJigsaw(grid=grid, p=p, same_on_batch=not per_sample)
    return lambda images, labels: (jigsaw(images), one_hot(labels, num_classes).float())


def composer_mixup(*, num_classes: int, alpha: float = 0.2) -> Operation:
    """Build composer's mixup_batch; its weight is that of the partner."""
    from composer.functional import mixup_batch

    def mix(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
        mixed, partners, share = mixup_batch(images, labels, alpha=alpha)
        return mixed, labels, partners, 1 - share

    return two_labels(num_classes, mix)


def composer_cutmix(*, num_classes: int, alpha: float = 1.0) -> Operation:
    """Build composer's cutmix_batch; its area is that of the image's own pixels."""
    from composer.functional import cutmix_batch

    def mix(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
        mixed, partners, area, _ = cutmix_batch(images, labels, alpha=alpha)
        return mixed, labels, partners, area

    return two_labels(num_classes, mix)


@declare(soft=INDICES)
def torch_uncertainty_mixup(*, num_classes: int, per_sample: bool = True, alpha: float = 1.0) -> Operation:
    """Build TorchUncertainty's Mixup."""
    from torch_uncertainty.transforms.mixup import Mixup

    mixup: Operation = Mixup(alpha=alpha, num_classes=num_classes, isobatch=not per_sample)
    return mixup


@declare(compile=NOT_MEASURED, export=NOT_MEASURED)
def openmixup_smoothmix(*, num_classes: int, alpha: float = 1.0) -> Operation:
    """Build openmixup's SmoothMix, from the one file of a checkout that is on the path; the package needs mmcv.

    Its classification head (cls_mixup_head.py) weighs the first label by lam. Where there is no GPU, `.cuda()` does
    nothing.
    """
    found = importlib.util.find_spec("openmixup")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'openmixup'")
    file = Path(found.origin).parent / "models" / "augments" / "smoothmix.py"
    helpers = ModuleType("openmixup.models.utils")
    helpers.batch_shuffle_ddp = None  # type: ignore[attr-defined]  # of its distributed mode
    spec = importlib.util.spec_from_file_location("openmixup_smoothmix", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, {"openmixup.models.utils": helpers}):
        spec.loader.exec_module(module)

    def mix(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if torch.cuda.is_available():
            mixed, (a, b, lam) = module.smoothmix(images, labels, alpha=alpha)
        else:
            with mock.patch.object(Tensor, "cuda", lambda self: self):
                mixed, (a, b, lam) = module.smoothmix(images, labels, alpha=alpha)
        return mixed, a, b, lam

    return two_labels(num_classes, mix)


# By the name of the installed distribution; the rows of the scoreboard.
PEERS: dict[str, dict[str, Make]] = {
    "torchvision": {"v2.MixUp": _torchvision("MixUp"), "v2.CutMix": _torchvision("CutMix")},
    "timm": {
        "Mixup (batch, elem)": timm_mixup,
        "Mixup (pair)": timm_mixup_pair,
        "CutMix (batch, elem)": timm_cutmix,
        "CutMix (pair)": timm_cutmix_pair,
    },
    "kornia": {"RandomMixUpV2": kornia_mixup, "RandomCutMixV2": kornia_cutmix, "RandomJigsaw": kornia_jigsaw},
    "mosaicml": {"mixup_batch": composer_mixup, "cutmix_batch": composer_cutmix},
    "torch-uncertainty": {"Mixup": torch_uncertainty_mixup},
    "openmixup": {"smoothmix": openmixup_smoothmix},
}
