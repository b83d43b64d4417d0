"""Check the mixing operations of this package and of other libraries, and write mixcheck.md beside this file.

    python -m smoothmix.check --peers

Each library is imported when its operation is built; those that are not installed are listed (openmixup installs with
`pip install --no-deps openmixup`). A law does not apply to what an operation is documented to do otherwise, ours or
theirs: the reason quotes the source.
"""

import importlib.util
import platform
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

import smoothmix
from smoothmix.check import Report, check_mixing
from smoothmix.check.report import FAIL, NOT_APPLICABLE, PASS
from smoothmix.check.subject import Operation
from smoothmix.utils.errors import UserError

PAGE = Path(__file__).with_suffix(".md")
MARKS = {PASS: "✓", FAIL: "**✗**", NOT_APPLICABLE: "n/a"}
GROUPS = {
    "wrong labels": ("label_weight", "row_sum", "soft"),
    "distribution": ("seed", "p", "pairs", "positions", "independent", "coin", "arguments"),
    "convenience": ("any_batch", "input_kept", "format_kept", "rounding", "gradient", "compile", "export"),
}


class Row(NamedTuple):
    """An operation, and the laws that it is documented not to obey, with the source."""

    make: Callable[..., Operation]
    design: dict[str, str]


# ---- ours


def manifold_mixup(
    *,
    num_classes: int,
    p: float = 1.0,
    per_sample: bool = False,
    alpha: float = 1.0,
    generator: torch.Generator | None = None,
) -> Operation:
    """Build Manifold Mixup with a network of two identities, so that its hidden layers are images."""
    strategy = smoothmix.ManifoldMixup(
        num_classes=num_classes, p=p, per_sample=per_sample, alpha=alpha, stages=("0", "1"), generator=generator
    )
    network = nn.Sequential(nn.Identity(), nn.Identity())
    strategy.attach(network)

    def mix(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        images, targets = strategy(images, labels)
        return network(images), targets

    def seeded(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        # The layer comes from the default CPU generator, which the caller's one seeds here.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            return mix(images, labels)

    return mix if generator is None else seeded


ALONE = {"pairs": "images have no partner"}
# Holes of the default size would cover the small images of the checks.
OURS = {name: Row(getattr(smoothmix, name), {}) for name in sorted(smoothmix.__all__) if name[0].isupper()} | {
    "Cutout": Row(partial(smoothmix.Cutout, size=4), ALONE),
    "HideAndSeek": Row(smoothmix.HideAndSeek, ALONE),
    "Identity": Row(smoothmix.Identity, ALONE | dict.fromkeys(("seed", "p", "coin", "arguments"), "changes nothing")),
    "LabelSmoothing": Row(
        smoothmix.LabelSmoothing, ALONE | dict.fromkeys(("label_weight", "rounding"), "smooths labels, images stay")
    ),
    "ManifoldMixup": Row(
        manifold_mixup, {"export": '"The layer is drawn on the host [...]. A CUDA graph holds one layer only"'}
    ),
}


# ---- other libraries


def two_labels(num_classes: int, mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Any]]) -> Operation:
    """Turn an operation that returns (images, labels a, labels b, weight of a) into one that returns targets."""

    def operation(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        mixed, a, b, weight = mix(images, labels)
        a, b = (x if x.ndim == 2 else one_hot(x.long(), num_classes).float() for x in (a, b))
        weight = torch.as_tensor(weight, dtype=torch.float32).view(-1, 1)
        return mixed, weight * a + (1 - weight) * b

    return operation


def torchvision_mixup(*, num_classes: int, alpha: float = 1.0, name: str) -> Operation:
    """Build torchvision's v2.MixUp or v2.CutMix."""
    from torchvision.transforms import v2

    return getattr(v2, name)(num_classes=num_classes, alpha=alpha)


def timm_mixup(*, num_classes: int, p: float = 1.0, per_sample: bool = False, mixup_alpha: float = 1.0) -> Operation:
    """Build timm's Mixup, mode "batch" or "elem"."""
    return _timm(num_classes, p, "elem" if per_sample else "batch", mixup_alpha=mixup_alpha)


def timm_cutmix(*, num_classes: int, p: float = 1.0, per_sample: bool = False, cutmix_alpha: float = 1.0) -> Operation:
    """Build timm's Mixup with CutMix alone, mode "batch" or "elem"."""
    return _timm(num_classes, p, "elem" if per_sample else "batch", mixup_alpha=0.0, cutmix_alpha=cutmix_alpha)


def timm_mixup_pair(*, num_classes: int, p: float = 1.0, mixup_alpha: float = 1.0) -> Operation:
    """Build timm's Mixup, mode "pair"."""
    return _timm(num_classes, p, "pair", mixup_alpha=mixup_alpha)


def timm_cutmix_pair(*, num_classes: int, p: float = 1.0, cutmix_alpha: float = 1.0) -> Operation:
    """Build timm's Mixup with CutMix alone, mode "pair"."""
    return _timm(num_classes, p, "pair", mixup_alpha=0.0, cutmix_alpha=cutmix_alpha)


def _timm(num_classes: int, p: float, mode: str, **alphas: float) -> Operation:
    from timm.data.mixup import Mixup

    return Mixup(num_classes=num_classes, prob=p, mode=mode, label_smoothing=0.0, **alphas)


def kornia_mixup(
    *, num_classes: int, p: float = 1.0, per_sample: bool = True, lambda_val: tuple[float, float] = (0.0, 1.0)
) -> Operation:
    """Build kornia's RandomMixUpV2."""
    return _kornia("RandomMixUpV2", num_classes, per_sample, p=p, lambda_val=lambda_val)


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


def torch_uncertainty_mixup(*, num_classes: int, per_sample: bool = True, alpha: float = 1.0) -> Operation:
    """Build TorchUncertainty's Mixup."""
    from torch_uncertainty.transforms.mixup import Mixup

    return Mixup(alpha=alpha, num_classes=num_classes, isobatch=not per_sample)


def openmixup_smoothmix(*, num_classes: int, alpha: float = 1.0) -> Operation:
    """Build openmixup's SmoothMix, from its one file; the package itself needs mmcv below 2.

    Its classification head (cls_mixup_head.py) weighs the first label by lam. Where there is no GPU, `.cuda()` does
    nothing.
    """
    found = importlib.util.find_spec("openmixup")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'openmixup'")
    file = Path(found.origin).parent / "models" / "augments" / "smoothmix.py"
    helpers = ModuleType("openmixup.models.utils")
    helpers.batch_shuffle_ddp = None  # of its distributed mode
    spec = importlib.util.spec_from_file_location("openmixup_smoothmix", file)
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, {"openmixup.models.utils": helpers}):
        spec.loader.exec_module(module)

    def mix(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        cuda = Tensor.cuda if torch.cuda.is_available() else lambda self: self
        with mock.patch.object(Tensor, "cuda", cuda):
            mixed, (a, b, lam) = module.smoothmix(images, labels, alpha=alpha)
        return mixed, a, b, lam

    return two_labels(num_classes, mix)


SHUFFLED = {"pairs": '"The sample pairing is deterministic [...], so the batch needs to be shuffled" (docstring)'}
TIMM = {
    "soft": 'class indices, unless multi_label, which "[mixes] dense multi-label targets" (docstring)',
    "any_batch": '"Batch size should be even when using this" (its assertion)',
    "input_kept": "\"'x' is modified in place\" (its author, huggingface/pytorch-image-models#1143)",
}
KORNIA = {"soft": '"Labels must be one-dimensional" (docstring)', "coin": '"p is a batch-wide gate" (docstring)'}
STAND_IN = "not measured: calls .cuda(), and the compilers see through a stand-in for it"
# By the name of the installed distribution.
PEERS = {
    "torchvision": {f"v2.{name}": Row(partial(torchvision_mixup, name=name), SHUFFLED) for name in ("MixUp", "CutMix")},
    "timm": {
        "Mixup (batch, elem)": Row(timm_mixup, TIMM),
        "Mixup (pair)": Row(timm_mixup_pair, TIMM),
        "CutMix (batch, elem)": Row(timm_cutmix, TIMM),
        "CutMix (pair)": Row(timm_cutmix_pair, TIMM),
    },
    "kornia": {
        "RandomMixUpV2": Row(kornia_mixup, KORNIA),
        "RandomCutMixV2": Row(kornia_cutmix, KORNIA),
        "RandomJigsaw": Row(
            kornia_jigsaw,
            {
                "pairs": '"Make Jigsaw puzzles for each image individually" (docstring)',
                "soft": '"Only image input is implemented" (docstring)',
                "any_batch": '"Both image dimensions must be divisible by their grid entries" (docstring)',
            },
        ),
    },
    "mosaicml": {"mixup_batch": Row(composer_mixup, {}), "cutmix_batch": Row(composer_cutmix, {})},
    "torch-uncertainty": {
        "Mixup": Row(torch_uncertainty_mixup, {"soft": '"only applicable to index tensor" (the error)'})
    },
    "openmixup": {"smoothmix": Row(openmixup_smoothmix, {"compile": STAND_IN, "export": STAND_IN})},
}


# ---- the page


def main() -> None:
    """Run all checks and write the page; what is below its first two headings by hand stays."""
    torch.set_num_threads(1)
    rows: dict[str, Report | str] = {}
    for library, operations in {"smoothmix": OURS, **PEERS}.items():
        for name, row in operations.items():
            try:
                found: Report | str = check_mixing(row.make, not_applicable=row.design)
            except UserError as error:  # an import that fails
                found = str(error).split(". Wrap ")[0]
            rows[f"{label(library)}: {name}"] = found
            print(f"{label(library)}: {name}", found if isinstance(found, str) else found.passed, flush=True)
    by_hand = PAGE.read_text(encoding="utf-8").partition("\n## Reproduced by hand\n")
    PAGE.write_text(to_markdown(rows) + "".join(by_hand[1:]), encoding="utf-8")
    print(PAGE)


def label(library: str) -> str:
    """Return the library with the version that is installed."""
    if library == "smoothmix":
        return "ours"
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:
        return library


def to_markdown(rows: dict[str, Report | str]) -> str:
    """Return the page: failures counted by group, a table of operations and laws, and the evidence."""
    laws = [law for group in GROUPS.values() for law in group]
    lines = [
        "# mixcheck: who obeys which law",
        "",
        "Written by `python -m smoothmix.check --peers` with "
        f"torch {torch.__version__}, Python {platform.python_version()}, on a CPU.",
        "",
        "[The laws](../docs/mixcheck.md) are in three groups, by what a failure means: labels are wrong; what is",
        "drawn has another distribution than is stated; or the result is right, but its form, its gradient or a",
        "compiler costs the user something. One rule for ours and theirs: a law does not apply (n/a) where the",
        "library's documentation, error message or author says so, or where the operation lacks the argument.",
        "✓ passed, ✗ failed.",
        "",
        f"| operation | {' | '.join(GROUPS)} | " + " | ".join(f"`{law}`" for law in laws) + " |",
        "|---|" + ":-:|" * (len(GROUPS) + len(laws)),
    ]
    reports = {name: found for name, found in rows.items() if isinstance(found, Report)}
    for name, report in reports.items():
        failed = {law for law in laws if report[law].verdict == FAIL}
        counts = [str(len(failed.intersection(group))) for group in GROUPS.values()]
        lines.append(f"| {name} | " + " | ".join([*counts, *(MARKS[report[law].verdict] for law in laws)]) + " |")
    if missing := [f"- {name}: {found}" for name, found in rows.items() if isinstance(found, str)]:
        lines += ["", "Not checked:", "", *missing]
    for verdict, title in ((FAIL, "What failed"), (NOT_APPLICABLE, "What does not apply, and why")):
        lines += ["", f"## {title}", ""]
        for name, report in reports.items():
            entries = [report[law] for law in laws]
            lines += [f"- {name}, `{e.law}`: {e.evidence}" for e in entries if e.verdict == verdict]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
