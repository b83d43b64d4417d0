"""The laws that hold for every single batch. Each returns its evidence, or raises `Broken` with it."""

import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from smoothmix.check.subject import (
    STANDARD,
    Broken,
    Operation,
    Subject,
    are_equal,
    call,
    describe,
    one_hot_channels,
    random_batch,
    seed_everything,
    short,
)

# (N, H, W), smallest first: even and odd batches, one image alone, sides that are odd, unequal or a single pixel.
SHAPES = [(2, 4, 4), (1, 4, 4), (2, 1, 1), (3, 4, 4), (2, 3, 5), (3, 5, 4), (4, 8, 8), (5, 7, 12), (6, 16, 6)]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LAYOUTS = (torch.contiguous_format, torch.channels_last)
SEEDS = range(6)
# Of sums in float32; an image in half precision may be off by a unit of its own dtype.
TOLERANCE = 1e-5


def label_weight(subject: Subject) -> str:
    """Compare the targets with the shares of the pixels, where any are left, over shapes, dtypes and modes."""
    worst, batches, refused = 0.0, 0, None
    for (n, height, width), dtype, per_sample, seed in product(SHAPES, DTYPES, subject.modes(), SEEDS):
        images, p = one_hot_channels(n, height, width, dtype), (1.0, 0.5)[seed % 2]
        try:
            mixed, targets = subject.mix(images, torch.arange(n), seed, num_classes=n + 1, p=p, per_sample=per_sample)
        except Broken as error:  # the matter of another law, unless it is always so
            refused = error
            continue
        batches += 1
        shares = _shares(mixed, targets)
        difference = (targets.float() - shares).abs()
        bound = max(TOLERANCE, torch.finfo(dtype).eps if dtype != torch.float32 else 0)
        if not difference.max() <= bound:
            row = int(difference.nan_to_num(torch.inf).amax(dim=1).argmax())
            raise Broken(
                f"image {row} of {describe(images)} (per_sample={per_sample}, seed {seed}): pixel shares "
                f"{numbers(shares[row])}, targets {numbers(targets[row])}"
            )
        worst = max(worst, float(difference.max()) if dtype == torch.float32 else 0)
    if not batches and refused:
        raise refused
    return f"{batches} batches, largest difference {worst:.1e} in float32"


def _shares(mixed: Tensor, targets: Tensor) -> Tensor:
    """Return the shares (N, K) of the pixels that are left of one-hot channel images, or the targets where none is."""
    shares = mixed.float().mean(dim=(2, 3))
    shares = nn.functional.pad(shares, (0, targets.shape[1] - shares.shape[1]))
    left = shares.sum(dim=1, keepdim=True)
    # Pixels that the operation drops belong to no label.
    return torch.where(left > 0, shares / left, targets.float())


def rounding(subject: Subject) -> str:
    """Compare an image's own share, which is exact in any dtype, with its own label in half precision."""
    rows = 0
    for dtype, per_sample, seed in product(DTYPES[1:], subject.modes(), range(20)):
        images = one_hot_channels(4, 8, 8, dtype)
        mixed, targets = subject.mix(images, torch.arange(4), seed, per_sample=per_sample)
        own = mixed.float().mean(dim=(2, 3)).diagonal()
        # Rows without dropped pixels: there the channels sum to 1 everywhere, but for rounding.
        whole = ((mixed.float().sum(dim=1) - 1).abs() < 2 * torch.finfo(dtype).eps).flatten(1).all(dim=1)
        difference = ((own - targets.float().diagonal()).abs() * whole).nan_to_num(torch.inf)
        rows += int(whole.sum())
        if difference.max() > TOLERANCE:
            row = int(difference.argmax())
            raise Broken(
                f"image {row} of {describe(images)} (per_sample={per_sample}, seed {seed}): its pixels hold "
                f"{float(own[row]):.6f} of it, its label {float(targets[row, row]):.6f}"
            )
    if not rows:
        return "no image keeps all its pixels"
    return f"{rows} images in bfloat16 and float16, within {TOLERANCE:.0e}"


def row_sum(subject: Subject) -> str:
    """Sum the rows of targets of class indices and, where they are taken, of probabilities."""
    probabilities = torch.rand(6, 5, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    images = random_batch(6, 8, 8)[0]
    soft = "soft" not in subject.not_applicable
    for labels, per_sample, seed in product([torch.arange(6) % 5, probabilities][: 1 + soft], subject.modes(), SEEDS):
        _, targets = subject.mix(images, labels, seed, num_classes=5, per_sample=per_sample)
        off = torch.maximum((targets.float().sum(dim=1) - 1).abs(), -targets.float().amin(dim=1))
        if not off.max() <= TOLERANCE:
            row = int(off.nan_to_num(torch.inf).argmax())
            raise Broken(
                f"labels {describe(labels)}, seed {seed}: row {row} is {numbers(targets[row])}, its sum "
                f"{float(targets[row].sum()):.6f}"
            )
    return f"within {TOLERANCE:.0e}"


def any_batch(subject: Subject) -> str:
    """Call the operation with every shape."""
    for (n, height, width), per_sample, p in product(SHAPES, subject.modes(), (1.0, 0.0)):
        images = one_hot_channels(n, height, width)
        subject.mix(images, torch.arange(n), num_classes=n + 1, p=p, per_sample=per_sample)
    return f"{len(SHAPES)} shapes from 1 image to 6 and from 1 x 1 pixel to 16 x 6"


def input_kept(subject: Subject) -> str:
    """Compare images and labels before and after."""
    for layout, per_sample, seed in product(LAYOUTS, subject.modes(), SEEDS):
        images, labels = random_batch(6, 8, 8)
        images = images.contiguous(memory_format=layout)
        before = images.clone(), labels.clone()
        operation = partial(subject.build(seed, num_classes=6, per_sample=per_sample), images, labels)
        # The batch itself, not the copies that call() makes.
        call(lambda *_, run=operation: run(), images, labels, f"per_sample={per_sample}, seed {seed}")
        for name, now, then in zip(("images", "labels"), (images, labels), before, strict=True):
            if not torch.equal(now, then):
                changed = int((now != then).sum())
                raise Broken(f"{changed} of {now.numel()} values of the {name} {describe(now)} changed (seed {seed})")
    return "images and labels equal their copies"


def format_kept(subject: Subject) -> str:
    """Compare dtype, device and memory format of what comes out with what went in."""
    for p, dtype, layout, per_sample in product((1.0, 0.0), DTYPES, LAYOUTS, subject.modes()):
        images, labels = random_batch(4, 8, 8)
        images = images.to(dtype).contiguous(memory_format=layout)
        for seed in SEEDS:
            mixed, targets = subject.mix(images, labels, seed, p=p, per_sample=per_sample)
            if mixed.dtype != dtype or not mixed.is_contiguous(memory_format=layout):
                raise Broken(f"images {describe(images)} came back as {describe(mixed)} (p={p}, seed {seed})")
            if not targets.is_floating_point() or not images.device == mixed.device == targets.device:
                raise Broken(f"targets {describe(targets)} on {targets.device} for images on {images.device}")
    return "float32, bfloat16 and float16, contiguous and channels_last"


def soft(subject: Subject) -> str:
    """Mix one-hot rows, and a blend of two label matrices, with the same seed."""
    images, labels = random_batch(6, 8, 8)
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 6, 6, generator=generator).softmax(dim=2)
    for per_sample, seed in product(subject.modes(), SEEDS):
        mix = partial(subject.mix, images, seed=seed, per_sample=per_sample)
        blended = 0.3 * mix(a)[1] + 0.7 * mix(b)[1]
        for name, got, expected in (
            ("images mixed with one-hot rows for labels", mix(torch.eye(6))[0], mix(labels)[0]),
            ("targets of one-hot rows", mix(torch.eye(6))[1], mix(labels)[1]),
            ("targets of 0.3 A + 0.7 B", mix(0.3 * a + 0.7 * b)[1], blended),
        ):
            difference = float((got.float() - expected.float()).abs().max())
            if not difference <= TOLERANCE:
                raise Broken(f"{name} are off by up to {difference:.4f} ({describe(images)}, seed {seed})")
    return f"one-hot rows as class indices, 0.3 A + 0.7 B as the blend of both, within {TOLERANCE:.0e}"


def arguments(subject: Subject) -> str:
    """Build the operation with another value of each argument, and compare what comes out of the same seeds."""
    images, labels = random_batch(8, 32, 32)

    def outputs(**changed: Any) -> list[tuple[Tensor, Tensor]]:
        return [subject.mix(images, labels, seed, **{"p": 0.5} | changed) for seed in range(10)]

    def differ(name: str, *values: Any) -> bool:
        return not are_equal(*(outputs(**{name: value}) for value in values))

    columns = outputs(num_classes=9)[0][1].shape[1]
    if columns != 9:
        raise Broken(f"num_classes=9 gives targets with {columns} columns")
    values = {name: two for name, two in {"p": (0.0, 1.0), "per_sample": (False, True)}.items() if subject.takes(name)}
    for name, default in subject.defaults.items():
        if name not in STANDARD:
            values[name] = subject.variants.get(name) or (default, *_alternatives(subject, name, default))
    for name, (first, *others) in values.items():
        if not others:
            raise Broken(f"no second value to try for {name}={first!r}: pass variants={{{name!r}: (one, other)}}")
        if not any(differ(name, first, other) for other in others):
            raise Broken(f"{name}={first!r} and {name}={others[0]!r} give the same results from 10 seeds")
    return ", ".join(["num_classes", *values])


def _alternatives(subject: Subject, name: str, default: Any) -> Iterator[Any]:
    """Yield other values of an argument that the operation takes: the opposite, or numbers near its default."""
    if isinstance(default, bool):
        candidates: list[Any] = [not default]
    elif isinstance(default, int | float):
        candidates = [default * 2, default / 2, default + 1, default + 0.1]
        candidates = [int(value) for value in candidates] if isinstance(default, int) else candidates
    elif isinstance(default, tuple | list) and all(isinstance(value, int | float) for value in default):
        candidates = [type(default)(type(value)(value * factor) for value in default) for factor in (2, 0.5)]
    else:
        candidates = []
    for value in candidates:
        if value != default:
            try:
                subject.build(0, num_classes=8, **{name: value})
            except Exception:  # out of the argument's range
                continue
            yield value


class _Module(nn.Module):
    def __init__(self, operation: Operation) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, images: Tensor, labels: Tensor) -> Any:
        return self.operation(images, labels)


def compiled(subject: Subject) -> str:
    """Compare torch.compile (backend aot_eager, which draws as eager mode does) with eager mode, seed by seed."""
    return _same_as_eager(subject, lambda module, *batch: torch.compile(module, backend="aot_eager"))


def exported(subject: Subject) -> str:
    """Compare torch.export's program with eager mode, seed by seed."""
    return _same_as_eager(subject, lambda module, *batch: torch.export.export(module, batch).module())


def _same_as_eager(subject: Subject, transform: Callable[[nn.Module, Tensor, Tensor], Operation]) -> str:
    images, labels = one_hot_channels(4, 8, 8), torch.arange(4)
    # A graph draws from the global generator: one of the caller's own cannot be a part of it.
    more: dict[str, Any] = {"generator": None} if subject.takes("generator") else {}
    for per_sample in subject.modes():
        torch.compiler.reset()
        eager = _Module(subject.build(0, num_classes=4, p=0.75, per_sample=per_sample, **more))
        try:
            with redirect_stderr(io.StringIO()):  # the compilers' own account of what they could not follow
                other = transform(eager, images, labels)
        except Exception as error:
            raise Broken(f"{short(error)} (images {describe(images)}, per_sample={per_sample})") from error
        for seed in SEEDS:
            results = []
            for function in (eager, other):
                seed_everything(seed)
                results.append(call(function, images, labels, f"per_sample={per_sample}, seed {seed}"))
            (images_a, targets_a), (images_b, targets_b) = results
            off = max(float((images_a - images_b).abs().max()), float((targets_a - targets_b).abs().max()))
            if not off <= TOLERANCE:
                wrong = float((targets_b.float() - _shares(images_b, targets_b)).abs().max())
                follow = "its labels follow the pixels" if wrong <= TOLERANCE else f"its labels are off by {wrong:.4f}"
                raise Broken(
                    f"images {describe(images)}, per_sample={per_sample}, seed {seed}: differs from eager mode by up "
                    f"to {off:.4f}; {follow}"
                )
    return f"{len(SEEDS)} seeds, within {TOLERANCE:.0e}"


def numbers(row: Tensor) -> str:
    """Return a few numbers of a row to print."""
    return "(" + ", ".join(f"{float(value):.4f}" for value in row[:6]) + (", ...)" if len(row) > 6 else ")")
