"""Errors on corrupted images, kept in a record from which an interrupted evaluation resumes."""

import json
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

import torch
from torch import nn
from tqdm import tqdm

from smoothmix.corruptions import CORRUPTIONS, SEVERITIES
from smoothmix.evaluation.classification import evaluate
from smoothmix.utils.checks import is_percentage, read_object
from smoothmix.utils.data import Batches
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.environment import environment_of, start
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import write_text
from smoothmix.utils.locks import hold


class CellRecord:
    """A JSON file: what was evaluated, and the top-1 error in % of every corruption-severity pair so far.

    `identity` says what the errors are of (weights, benchmark, source); a file with another one is refused. `starts`
    tells when, where and by which commit errors were added, see `utils.environment.start`: now, on `device`, for the
    last time. The top level of the file has the environment of the first start.

    Raises:
        UserError: the file is there and cannot be read, or is of something else (the differing keys are named).
    """

    def __init__(self, path: Path, identity: dict[str, Any], device: torch.device) -> None:
        self.path, self.identity = path, identity
        self.errors: dict[str, dict[int, float]] = {}
        self.starts: list[dict[str, Any]] = []
        if path.exists():
            stored = read_cells(path)
            differing = sorted(key for key, value in identity.items() if stored.get(key) != value)
            if differing:
                raise UserError(
                    f"{path} is the record of another evaluation: {', '.join(differing)} differ; "
                    "move it away to begin anew"
                )
            self.errors = stored["top1_errors"]
            self.starts = stored.get("starts", [environment_of(stored)])  # older records have none
        self.starts.append(start(device, errors=sum(map(len, self.errors.values()))))

    def save(self, **facts: Any) -> None:
        """Write the file anew, with `facts` beside the errors."""
        made = {**environment_of(self.starts[0]), "starts": self.starts}
        content = {**self.identity, **facts, **made, "top1_errors": self.errors}
        write_text(self.path, json.dumps(content, indent=2) + "\n")


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


def read_cells(path: Path) -> dict[str, Any]:
    """Return the record in `path`, with ``top1_errors`` as {corruption: {severity: error in %}}.

    Raises:
        UserError: it is not such a record.
    """
    try:
        record = read_object(path)
        record["top1_errors"] = {name: _of_severities(name, cells) for name, cells in record["top1_errors"].items()}
        if not all(isinstance(start, dict) for start in record.get("starts", [])):
            raise ValueError("starts is not a list of objects")
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is not a record of corrupted errors ({error}); move it away to begin anew") from error
    return record


def _of_severities(name: str, cells: dict[str, Any]) -> dict[int, float]:
    """Return {severity: error in %} of the corruption `name`; raise ValueError for what is none."""
    known = {str(severity): severity for severity in SEVERITIES}
    if name not in CORRUPTIONS or not cells.keys() <= known.keys() or not all(map(is_percentage, cells.values())):
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
) -> tuple[CellRecord, float]:
    """Evaluate `model` on clean images and on the corruptions `names`, resuming the record `path`; rank 0 locks it.

    Args:
        model, batches, names, channels_last: as :func:`evaluate_cells` takes them.
        clean_batches: this rank's batches of the clean test images.
        ranks: this process among the others.
        path: of the record.
        identity: what the errors are of.

    Returns:
        The record and the clean top-1 error in %.

    Raises:
        UserError: the record is another evaluation's or in use, or images are missing.
    """
    with lock(path) if ranks.is_main else nullcontext():
        ranks.any(False)  # the others read the record when it is locked
        record = CellRecord(path, identity, ranks.device)
        clean = evaluate(model, clean_batches, ranks, channels_last=channels_last)
        facts = {
            "clean_top1_error": clean["top1_error"],
            "images": clean["images"],
            "world_size": ranks.world_size,
        }
        images, errors = int(clean["images"]), record.errors
        evaluate_cells(model, batches, names, images, ranks, errors, lambda: record.save(**facts), channels_last)
    return record, clean["top1_error"]
