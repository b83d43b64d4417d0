"""Errors on corrupted images, kept in a record from which an interrupted evaluation resumes."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar, Self

import torch
from tqdm import tqdm

from smoothmix.corruptions import CORRUPTIONS, SEVERITIES
from smoothmix.evaluation.calibration import MEASURES
from smoothmix.evaluation.classification import Predictions, errors
from smoothmix.evaluation.predictions import PairsFile
from smoothmix.utils.data import Batches
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.environment import start
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import hold, weights_digest
from smoothmix.utils.records import Name, Percentage, Record, is_float, is_name, is_object, is_percentage

Cells = dict[str, dict[int, float]]  # {corruption: {severity: value}}
Predict = Callable[[Batches], Predictions]


@dataclass(frozen=True, kw_only=True)
class CorruptionRecord(Record):
    """The errors of a network on corrupted images, written after each corruption and severity.

    `weights` is the stem of the file of weights beside the record, `source` where the corrupted images come from, and
    `top1_errors` are in %, {corruption: {severity: error}}, as far as they are evaluated. `calibration` is the same of
    each of :data:`MEASURES`, `clean_calibration` their value on clean images; both are empty in older records.
    """

    WHAT: ClassVar[str] = "a record of corrupted errors; move it away and evaluate again"

    benchmark: Name
    source: Name
    weights: Annotated[str, lambda value: is_name(value) and len(value) < 200 and "/" not in value]
    clean_top1_error: Percentage
    top1_errors: Annotated[Cells, is_object]
    clean_calibration: Annotated[dict[str, float], lambda value: _is_of_measures(value, is_float)] = field(
        default_factory=dict
    )
    calibration: Annotated[dict[str, Cells], lambda value: _is_of_measures(value, is_object)] = field(
        default_factory=dict
    )
    weights_sha256: Name | None = None
    data_fingerprint: Name | None = None

    @classmethod
    def parse(cls, content: dict[str, Any], path: Path = Path()) -> Self:
        """Return the record that a JSON object is; raises as :meth:`Record.parse`."""
        record = super().parse(content, path)
        calibration = {measure: _cells(cells, is_float) for measure, cells in record.calibration.items()}
        return replace(record, top1_errors=_cells(record.top1_errors, is_percentage), calibration=calibration)

    def measured(self, measure: str) -> tuple[float, Cells]:
        """Return "top1_error" or one of :data:`MEASURES`, on clean images (NaN if it is unknown) and on corrupted."""
        if measure == "top1_error":
            return self.clean_top1_error, self.top1_errors
        return self.clean_calibration.get(measure, math.nan), self.calibration.get(measure, {})

    def add(self, name: str, severity: int, result: Mapping[str, float]) -> None:
        """Enter the :func:`errors` of a corruption at a severity."""
        self.top1_errors.setdefault(name, {})[severity] = result["top1_error"]
        for measure in MEASURES:
            self.calibration.setdefault(measure, {}).setdefault(name, {})[severity] = result[measure]

    @property
    def pairs(self) -> dict[tuple[str, int], tuple[float, float]]:
        """{(corruption, severity): (top-1 error in %, loss)}; an older record does not know the loss: NaN."""
        losses = self.measured("loss")[1]
        return {
            (name, severity): (error, losses.get(name, {}).get(severity, math.nan))
            for name, cells in self.top1_errors.items()
            for severity, error in cells.items()
        }

    def check_weights(self) -> None:
        """Raise UserError if the file of weights beside the record is another; it may be gone.

        A file that is older than the record is the one that was evaluated, and is not read.
        """
        weights = self.path.with_name(f"{self.weights}.pt")
        if not weights.is_file() or weights.stat().st_mtime_ns < self.path.stat().st_mtime_ns:
            return
        if weights_digest(weights) != self.weights_sha256:
            raise UserError(f"{self.path} was made with other weights than {weights}; move it away and evaluate again")


def resumed(path: Path, identity: Mapping[str, object], device: torch.device) -> dict[str, Any]:
    """Return the fields of the record `path` that an evaluation begins with: what it has already, and one more start.

    Args:
        path: of the record, which need not exist.
        identity: what the errors are of: fields of the record that must agree.
        device: on which the evaluation is resumed.

    Raises:
        UserError: the file cannot be read, or is of something else (the differing fields are named).
    """
    if not path.exists():
        return {"top1_errors": {}, "calibration": {}, "starts": [start(device, errors=0)]}
    stored = CorruptionRecord.read(path)
    if differing := sorted(name for name, value in identity.items() if getattr(stored, name) != value):
        raise UserError(
            f"{path} is the record of another evaluation: {', '.join(differing)} differ; move it away to start over"
        )
    starts = [*stored.starts, start(device, errors=sum(map(len, stored.top1_errors.values())))]
    return {"top1_errors": stored.top1_errors, "calibration": stored.calibration, "starts": starts}


def lock(path: Path) -> IO[str]:
    """Lock the record `path`, which need not exist yet, until the returned file is closed.

    Raises:
        UserError: another process has locked it, or its folder cannot be written.
    """
    try:
        return hold(lock_of(path), path)
    except OSError as error:
        raise UserError(
            f"cannot write to {path.parent} ({error.strerror}), where the record belongs; give output=FOLDER"
        ) from error


def lock_of(path: Path) -> Path:
    """Return the file that is locked while an evaluation fills the record `path`."""
    return path.with_name(f".{path.name}.lock")


def _is_of_measures(value: Any, holds: Callable[[Any], bool]) -> bool:
    """Whether `value` is an object of some of :data:`MEASURES`, each with a value for which `holds` is true."""
    return is_object(value) and value.keys() <= MEASURES.keys() and all(map(holds, value.values()))


def _cells(by_name: Mapping[str, Any], holds: Callable[[Any], bool]) -> Cells:
    """Return {corruption: {severity: value}} with severities as numbers; raise ValueError for what is none."""
    known = {str(severity): severity for severity in SEVERITIES}
    for name, cells in by_name.items():
        well_formed = is_object(cells) and cells.keys() <= known.keys() and all(map(holds, cells.values()))
        if name not in CORRUPTIONS or not well_formed:
            raise ValueError(f"{name[:30]!r} should be a corruption, with errors at severities 1 to 5")
    return {
        name: {known[severity]: float(value) for severity, value in cells.items()} for name, cells in by_name.items()
    }


def evaluate_pairs(
    predict: Predict,
    batches: Callable[[str, int], Batches],
    names: Iterable[str],
    images: int,
    record: CorruptionRecord,
    is_main: bool = True,
    file: PairsFile | None = None,
) -> None:
    """Fill `record` with the errors of the corruptions `names` at all severities; skip what it holds, and the `file`.

    `predict` returns the predictions for all ranks' images, of which ``batches(name, severity)`` are this rank's. With
    `is_main` they are appended to the `file` after each corruption-severity pair, and then the record is written to its
    `path`.

    Raises:
        UserError: a pair has not `images` images.
    """
    done = record.pairs.keys() if file is None else record.pairs.keys() & file.pairs
    pairs = [(name, severity) for name in names for severity in SEVERITIES if (name, severity) not in done]
    for name, severity in tqdm(pairs, desc="corruptions", disable=not (is_main and sys.stderr.isatty())):
        predictions = predict(batches(name, severity))
        result = errors(predictions)
        if result["images"] != images:
            raise UserError(
                f"{name} at severity {severity} has {result['images']} images, but the clean test set has {images}: "
                "errors on a part are not comparable with the benchmark's; complete its files"
            )
        record.add(name, severity, result)
        if is_main:
            if file is not None:
                file.append(name, severity, predictions)
            record.write(record.path)


def evaluate_benchmark(
    predict: Predict,
    clean: Batches,
    batches: Callable[[str, int], Batches],
    names: Iterable[str],
    *,
    path: Path,
    ranks: Ranks,
    identity: dict[str, Any],
    facts: Mapping[str, Any],
    file: PairsFile | None = None,
) -> CorruptionRecord:
    """Evaluate on this rank's `clean` batches and on the corruptions `names`, resuming the record `path`.

    Rank 0 locks the record. `predict`, `batches`, `names` and `file` are as :func:`evaluate_pairs` takes them;
    `identity` says what the errors are of, `facts` what else the record is to say.

    Raises:
        UserError: the record is another evaluation's or in use, or images are missing.
    """
    with lock(path) if ranks.is_main else nullcontext():
        ranks.any(False)  # the others read the record when it is locked
        begun = resumed(path, identity, ranks.device)
        result = errors(predict(clean))
        images = int(result["images"])
        record = CorruptionRecord(
            **identity,
            **begun,
            clean_top1_error=result["top1_error"],
            clean_calibration={name: result[name] for name in MEASURES},
            extra={**facts, "images": images, "world_size": ranks.world_size},
            path=path,
        )
        if file is not None:
            if ranks.is_main:
                file.resume(record.pairs, images)
            file.pairs = ranks.gather(file.pairs)[0]
        evaluate_pairs(predict, batches, names, images, record, ranks.is_main, file)
    return record
