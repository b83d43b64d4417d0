"""The laws that hold for every single batch. Each returns its evidence, or raises `Broken` with it."""

import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from smoothmix.check.subject import (
    STANDARD,
    Broken,
    DoesNotApply,
    Operation,
    Refused,
    Subject,
    are_equal,
    call,
    describe,
    one_hot_channels,
    random_images,
    seed_everything,
    short,
)

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LAYOUTS = (torch.contiguous_format, torch.channels_last)
# (N, H, W), smallest first: even and odd batches, one image alone, sides that are odd, unequal or a single pixel; then
# the sizes that users have, where a fault can begin.
SHAPES = [(2, 4, 4), (1, 4, 4), (2, 1, 1), (3, 4, 4), (2, 3, 5), (3, 5, 4), (4, 8, 8), (5, 7, 12), (6, 16, 6)]
SHAPES += [(80, 4, 4), (4, 32, 32), (2, 64, 48)]
BATCHES = [*product(SHAPES, DTYPES), ((4, 224, 224), torch.bfloat16)]
# Of sums in float32.
TOLERANCE = 1e-5


class Mixed(NamedTuple):
    """One batch of one-hot channel images, what the operation made of it, and what it left of the batch itself."""

    images: Tensor
    labels: Tensor
    mixed: Tensor
    targets: Tensor
    after: tuple[Tensor, Tensor]
    again: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # mixes another batch with the same draws
    where: str


def every_batch(law: Callable[[Mixed], None]) -> Callable[[Subject], str]:
    """Return the check of a `law` on all batches that the operation takes."""

    def check(subject: Subject) -> str:
        count = 0
        for batch in _mixed_batches(subject):
            if not isinstance(batch, Refused):
                law(batch)
                count += 1
        return f"{count} batches, from 1 image to 80 and from 1 x 1 pixel to 224 x 224"

    return check


def _mixed_batches(subject: Subject) -> Iterator[Mixed | Refused]:
    cases = product(BATCHES, subject.modes(), [*product([1.0], LAYOUTS), *zip([0.5, 0.0], LAYOUTS, strict=True)])
    for seed, (((n, height, width), dtype), per_sample, (p, layout)) in enumerate(cases):
        images, labels = one_hot_channels(n, height, width, dtype).contiguous(memory_format=layout), torch.arange(n)
        arguments: dict[str, Any] = {"num_classes": n + 1, "p": p, "per_sample": per_sample}
        where = f"p={p}, per_sample={per_sample}, seed {seed}"
        after = images.clone(), labels.clone()
        operation = partial(subject.build(seed, **arguments), *after)
        try:
            # The batch itself, not the copies that call() makes.
            mixed, targets = call(lambda *_, run=operation: run(), images, labels, where)
        except Refused as error:
            yield error
            continue
        again = partial(subject.mix, seed=seed, **arguments)
        yield Mixed(images, labels, mixed, targets, after, again, f"{describe(images)} ({where})")


def any_batch(subject: Subject) -> str:
    """Raise the first refusal."""
    count = 0
    for batch in _mixed_batches(subject):
        if isinstance(batch, Refused):
            raise batch
        count += 1
    return f"{count} batches"


@every_batch
def label_weight(batch: Mixed) -> None:
    """Compare the targets with the shares of the pixels, where any are left."""
    shares = _shares(batch.mixed, batch.targets)
    off = (batch.targets.float() - shares).abs().nan_to_num(torch.inf).amax(dim=1)
    if off.max() > _unit(batch):
        row = int(off.argmax())
        raise Broken(
            f"image {row} of {batch.where}: pixel shares {numbers(shares[row])}, targets {numbers(batch.targets[row])}"
        )


def _unit(batch: Mixed) -> float:
    """Return what a label may be off by: in half precision a unit of the dtype, which `rounding` looks at."""
    dtype = batch.images.dtype
    return TOLERANCE if dtype == torch.float32 else torch.finfo(dtype).eps


def _shares(mixed: Tensor, targets: Tensor) -> Tensor:
    """Return the shares (N, K) of the pixels that are left of one-hot channel images, or the targets where none is."""
    shares = mixed.float().mean(dim=(2, 3))
    shares = nn.functional.pad(shares, (0, targets.shape[1] - shares.shape[1]))
    left = shares.sum(dim=1, keepdim=True)
    # Pixels that the operation drops belong to no label.
    return torch.where(left > 0, shares / left, targets.float())


@every_batch
def rounding(batch: Mixed) -> None:
    """Compare an image's own share, which is exact in half precision too, with its own label and the others'."""
    dtype, mixed, targets = batch.images.dtype, batch.mixed.float(), batch.targets.float()
    if dtype == torch.float32:
        return
    own, label = mixed.mean(dim=(2, 3)).diagonal(), targets.diagonal()
    # Rows without dropped pixels: there the channels sum to 1 everywhere, but for rounding.
    whole = ((mixed.sum(dim=1) - 1).abs() < 2 * torch.finfo(dtype).eps).flatten(1).all(dim=1)
    others = targets.sum(dim=1) - label
    off = (torch.maximum((own - label).abs(), (1 - own - others).abs()) * whole).nan_to_num(torch.inf)
    if off.max() > TOLERANCE:
        row = int(off.argmax())
        raise Broken(
            f"image {row} of {batch.where}: its pixels hold {float(own[row]):.6f} of it, its label "
            f"{float(label[row]):.6f}, all other labels {float(others[row]):.6f}"
        )


@every_batch
def row_sum(batch: Mixed) -> None:
    """Sum the rows of the targets."""
    targets = batch.targets.float()
    off = torch.maximum((targets.sum(dim=1) - 1).abs(), -targets.amin(dim=1)).nan_to_num(torch.inf)
    if off.max() > _unit(batch):
        row = int(off.argmax())
        raise Broken(
            f"row {row} of the targets for {batch.where} is {numbers(targets[row])}, its sum "
            f"{float(targets[row].sum()):.6f}"
        )


@every_batch
def input_kept(batch: Mixed) -> None:
    """Compare images and labels before and after."""
    for name, now, then in zip(("images", "labels"), batch.after, (batch.images, batch.labels), strict=True):
        if not torch.equal(now, then):
            raise Broken(f"{int((now != then).sum())} of {now.numel()} values of the {name} changed: {batch.where}")


@every_batch
def format_kept(batch: Mixed) -> None:
    """Compare dtype, device and memory format of what comes out with what went in."""
    images, mixed, targets = batch.images, batch.mixed, batch.targets
    layout = next(layout for layout in LAYOUTS if images.is_contiguous(memory_format=layout))
    if mixed.dtype != images.dtype or not mixed.is_contiguous(memory_format=layout):
        raise Broken(f"images {batch.where} came back as {describe(mixed)}")
    if targets.dtype != torch.float32 or not images.device == mixed.device == targets.device:
        raise Broken(f"targets {describe(targets)} on {targets.device} for {batch.where} on {images.device}")


@every_batch
def soft(batch: Mixed) -> None:
    """Mix one-hot rows, and a blend of two label matrices, with the same draws."""
    if batch.images.dtype != torch.float32:
        return
    (n, k), generator = batch.targets.shape, torch.Generator().manual_seed(0)
    a, b = torch.rand(2, n, k, generator=generator).softmax(dim=2)
    mix = partial(batch.again, batch.images)
    images, targets = mix(torch.eye(n, k))
    blended = 0.3 * mix(a)[1] + 0.7 * mix(b)[1]
    for name, got, expected in (
        ("images mixed with one-hot rows for labels", images, batch.mixed),
        ("targets of one-hot rows", targets, batch.targets),
        ("targets of 0.3 A + 0.7 B", mix(0.3 * a + 0.7 * b)[1], blended),
    ):
        off = float((got.float() - expected.float()).abs().max())
        if not off <= TOLERANCE:
            raise Broken(f"{name} are off by up to {off:.4f}: {batch.where}")


def dense(subject: Subject) -> str:
    """Mix label maps (N, H, W) in which every pixel names its image: the targets are the channels then, pixel by pixel.

    Half of the pixels are ignored, where the operation has the argument for it: they weigh nothing.
    """
    cases = list(product(SHAPES, DTYPES, subject.modes()))
    for seed, ((n, height, width), dtype, per_sample) in enumerate(cases):
        images = one_hot_channels(n, height, width, dtype)
        ignored = torch.rand(n, height, width, generator=torch.Generator().manual_seed(seed)) < 0.5
        arguments: dict[str, Any] = {"num_classes": n + 1, "per_sample": per_sample}
        if subject.takes("ignore_index"):
            arguments["ignore_index"] = n + 1
        else:
            ignored.zero_()
        maps = torch.arange(n)[:, None, None].masked_fill(ignored, n + 1)
        try:
            mixed, targets = subject.mix(images, maps, seed, **arguments)
        except Refused as error:
            raise DoesNotApply(f"it takes no label maps: {error}") from error
        shares = mixed.float()
        # Pixels that the operation drops keep their own label.
        shares = torch.where(shares.sum(dim=1, keepdim=True) > 0.5, shares, one_hot_channels(n, height, width))
        expected = nn.functional.pad(shares * ~ignored, (0, 0, 0, 0, 0, 1))
        off = (targets - expected).abs().nan_to_num(torch.inf)
        if off.max() > (TOLERANCE if dtype == torch.float32 else torch.finfo(dtype).eps):
            row, _, y, x = (int(place) for place in (off == off.max()).nonzero()[0])
            raise Broken(
                f"pixel ({y}, {x}) of image {row} of {describe(images)} (per_sample={per_sample}, seed {seed}): shares "
                f"{numbers(expected[row, :, y, x])}, targets {numbers(targets[row, :, y, x])}"
            )
    return f"{len(cases)} batches"


@every_batch
def gradient(batch: Mixed) -> None:
    """Compare the gradient of a sum of pixels with what the sum gains when the images move; the draws are the same."""
    if batch.images.dtype != torch.float32:
        return
    noise = torch.Generator().manual_seed(0)
    weights, step = torch.randn(2, *batch.images.shape, generator=noise)
    images = batch.images.clone().requires_grad_()
    total = (batch.again(images, batch.labels)[0] * weights).sum()
    if not total.requires_grad:
        raise Broken(f"images that require a gradient come back without one: {batch.where}")
    (slope,) = torch.autograd.grad(total, images)
    gain = ((batch.again(batch.images + step, batch.labels)[0] - batch.mixed) * weights).sum()
    scale = float((weights * step).abs().sum())
    if not abs(gain - (slope * step).sum()) <= TOLERANCE * scale:
        found = f"{gain:.4f}, by its gradient {(slope * step).sum():.4f}"
        raise Broken(f"the sum of the pixels of the mixed images gains {found}: {batch.where}")


def arguments(subject: Subject) -> str:
    """Build the operation with another value of each argument, and compare what comes out of the same seeds."""
    images, labels = random_images(8, 32, 32), torch.arange(8)

    def outputs(**changed: Any) -> list[tuple[Tensor, Tensor]]:
        return [subject.mix(images, labels, seed, **{"p": 0.5} | changed) for seed in range(10)]

    columns = outputs(num_classes=9)[0][1].shape[1]
    if columns != 9:
        raise Broken(f"num_classes=9 gives targets with {columns} columns")
    values: dict[str, tuple[Any, ...]] = {"p": (0.0, 1.0), "per_sample": (False, True)}
    values = {name: two for name, two in values.items() if subject.takes(name)}
    for name, default in subject.defaults.items():
        if name not in (*STANDARD, "ignore_index"):  # which is of label maps
            values[name] = default, *_alternatives(subject, name, default)
    for name, (first, *others) in values.items():
        before = outputs(**{name: first})
        if others and all(are_equal(before, outputs(**{name: other})) for other in others):
            raise Broken(f"{name}={first!r} and {name}={others[0]!r} give the same results from 10 seeds")
    untried = [name for name, (_, *others) in values.items() if not others]
    tried = ", ".join(["num_classes", *(name for name in values if name not in untried)])
    return tried + (f"; no other value is known for {', '.join(untried)}" if untried else "")


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
    images, labels, seeds = one_hot_channels(4, 8, 8), torch.arange(4), range(6)
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
        for seed in seeds:
            results = []
            for function in (eager, other, other):
                seed_everything(seed)
                results.append(call(function, images, labels, f"per_sample={per_sample}, seed {seed}"))
            (images_a, targets_a), (images_b, targets_b), again = results
            off = max(float((images_a - images_b).abs().max()), float((targets_a - targets_b).abs().max()))
            if not off <= TOLERANCE:
                wrong = float((targets_b.float() - _shares(images_b, targets_b)).abs().max())
                follow = "its labels follow the pixels" if wrong <= TOLERANCE else f"its labels are off by {wrong:.4f}"
                repeats = "gives the same again" if are_equal([results[1]], [again]) else "gives something else again"
                raise Broken(
                    f"images {describe(images)}, per_sample={per_sample}, seed {seed}: differs from eager mode by up "
                    f"to {off:.4f}; {follow}; the same seed {repeats}"
                )
    return f"{len(seeds)} seeds, within {TOLERANCE:.0e}"


def numbers(row: Tensor) -> str:
    """Return a few numbers of a row to print."""
    return "(" + ", ".join(f"{float(value):.4f}" for value in row[:6]) + (", ...)" if len(row) > 6 else ")")
