"""Errors on corrupted images, kept in a record from which an interrupted evaluation resumes."""

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar, Self

import torch
from torch import nn
from tqdm import tqdm

from smoothmix.corruptions import CORRUPTIONS, SEVERITIES
from smoothmix.evaluation.classification import evaluate
from smoothmix.utils.checks import is_name, is_percentage
from smoothmix.utils.data import Batches
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.environment import start
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import weights_digest
from smoothmix.utils.locks import hold
from smoothmix.utils.records import Name, Percentage, Record


@dataclass(frozen=True, kw_only=True)
class CorruptionRecord(Record):
    """The errors of a network on corrupted images, written after each corruption and severity.

    `weights` is the stem of the file of weights beside the record, `source` where the corrupted images come from, and
    `top1_errors` are in %, {corruption: {severity: error}}, as far as they are evaluated.
    """

    WHAT: ClassVar[str] = "a record of corrupted errors; move it away and evaluate again"

    benchmark: Name
    source: Name
    weights: Annotated[str, lambda value: is_name(value) and len(value) < 200 and "/" not in value]
    clean_top1_error: Percentage
    top1_errors: Annotated[dict[str, dict[int, float]], lambda value: isinstance(value, dict)]
    weights_sha256: Name | None = None
    data_fingerprint: Name | None = None

    @classmethod
    def parse(cls, content: dict[str, Any], path: Path = Path()) -> Self:
        """Return the record that a JSON object is; raises as :meth:`Record.parse`."""
        record = super().parse(content, path)
        return replace(record, top1_errors={name: _of_severities(name, of) for name, of in record.top1_errors.items()})

    def check_weights(self) -> None:
        """Raise UserError if the file of weights beside the record is another; it may be gone.

        A file that is older than the record is the one that was evaluated, and is not read.
        """
        weights = self.path.with_name(f"{self.weights}.pt")
        if not weights.exists() or weights.stat().st_mtime_ns < self.path.stat().st_mtime_ns:
            return
        if weights_digest(weights) != self.weights_sha256:
            raise UserError(f"{self.path} is the record of other weights than {weights}; move it away and repeat it")


def resumed(
    path: Path, identity: Mapping[str, object], device: torch.device
) -> tuple[dict[str, dict[int, float]], list[dict[str, Any]]]:
    """Return the errors that the record `path` has already, none if it does not exist, and its starts with this one.

    Args:
        path: of the record.
        identity: what the errors are of: fields of the record that must agree.
        device: on which the evaluation is resumed.

    Raises:
        UserError: the file cannot be read, or is of something else (the differing fields are named).
    """
    errors: dict[str, dict[int, float]] = {}
    starts = []
    if path.exists():
        stored = CorruptionRecord.read(path)
        differing = sorted(name for name, value in identity.items() if getattr(stored, name) != value)
        if differing:
            raise UserError(
                f"{path} is the record of another evaluation: {', '.join(differing)} differ; move it away to begin anew"
            )
        errors, starts = stored.top1_errors, stored.starts
    return errors, [*starts, start(device, errors=sum(map(len, errors.values())))]


def lock(path: Path) -> IO[str]:
    """Lock the record `path`, which need not exist yet, until the returned file is closed.

    Raises:
        UserError: another process has locked it, or its folder cannot be written.
    """
    try:
        return hold(lock_of(path), path)
    except OSError as error:
        raise UserError(
            f"cannot write to {path.parent} ({error.strerror}): the record belongs beside the weights; "
            "copy them to a folder of your own and give checkpoint=FILE"
        ) from error


def lock_of(path: Path) -> Path:
    """Return the file that is locked while an evaluation fills the record `path`."""
    return path.with_name(f".{path.name}.lock")


def _of_severities(name: str, cells: Any) -> dict[int, float]:
    """Return {severity: error in %} of the corruption `name`; raise ValueError for what is none."""
    known = {str(severity): severity for severity in SEVERITIES}
    if (
        name not in CORRUPTIONS
        or not isinstance(cells, dict)
        or not cells.keys() <= known.keys()
        or not all(map(is_percentage, cells.values()))
    ):
        raise ValueError(f"{name[:30]!r} should be a corruption, with errors from 0 to 100 at severities 1 to 5")
    return {known[severity]: float(error) for severity, error in cells.items()}


def evaluate_cells(
    model: nn.Module,
    batches: Callable[[str, int], Batches],
    names: Iterable[str],
    images: int,
    ranks: Ranks,
    errors: dict[str, dict[int, float]],
    after_cell: Callable[[], None],
    channels_last: bool = False,
) -> None:
    """Fill `errors` with the top-1 error in % of each corruption of `names` at all severities.

    ``batches(name, severity)`` are this rank's, as :func:`evaluate` takes them. Cells that `errors` holds are skipped.
    `after_cell` is called on rank 0.

    Raises:
        UserError: a cell has not `images` images.
    """
    cells = [(name, severity) for name in names for severity in SEVERITIES if severity not in errors.get(name, {})]
    for name, severity in tqdm(cells, desc="cells", disable=not (ranks.is_main and sys.stderr.isatty())):
        result = evaluate(model, batches(name, severity), ranks, channels_last=channels_last)
        if result["images"] != images:
            raise UserError(
                f"{name} of severity {severity} has {result['images']} images, the clean test set {images}: "
                "errors of a part are not those of the benchmark; complete its files"
            )
        errors.setdefault(name, {})[severity] = result["top1_error"]
        if ranks.is_main:
            after_cell()


def evaluate_benchmark(
    model: nn.Module,
    batches: Callable[[str, int], Any],
    names: Iterable[str],
    clean_batches: Any,
    ranks: Ranks,
    path: Path,
    identity: dict[str, Any],
    channels_last: bool = False,
) -> CorruptionRecord:
    """Evaluate `model` on clean images and on the corruptions `names`, resuming the record `path`; rank 0 locks it.

    Args:
        model, batches, names, channels_last: as :func:`evaluate_cells` takes them.
        clean_batches: this rank's batches of the clean test images.
        ranks: this process among the others.
        path: of the record.
        identity: what the errors are of.

    Returns:
        The record.

    Raises:
        UserError: the record is another evaluation's or in use, or images are missing.
    """
    with lock(path) if ranks.is_main else nullcontext():
        ranks.any(False)  # the others read the record when it is locked
        errors, starts = resumed(path, identity, ranks.device)
        clean = evaluate(model, clean_batches, ranks, channels_last=channels_last)
        images = int(clean["images"])
        record = CorruptionRecord(
            **identity,
            clean_top1_error=clean["top1_error"],
            top1_errors=errors,
            starts=starts,
            extra={"images": images, "world_size": ranks.world_size},
            path=path,
        )
        evaluate_cells(model, batches, names, images, ranks, errors, lambda: record.write(path), channels_last)
    return record
