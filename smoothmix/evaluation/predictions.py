"""Predictions in a CSV file beside the record of their errors: a line per image, classes by name, floats in full."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from smoothmix.corruptions import SEVERITIES
from smoothmix.evaluation.classification import Predictions
from smoothmix.utils.files import open_no_follow, replacing

OF_PAIRS = ["corruption", "severity", "image", "class", "class_1", "p_1", "nll", "correct"]
_writer = partial(csv.writer, lineterminator="\n")


def predictions_of(record: Path) -> Path:
    """Return the file of the predictions whose errors are in the file `record`."""
    return record.with_suffix(".predictions.csv")


def write(path: Path, predictions: Predictions, names: Sequence[str], files: Sequence[object] = ()) -> None:
    """Write predictions whole: image (its index in the split), file, class, class_1..5, p_1..5, nll, correct.

    `names` are those of the network's outputs; `files` those of all images of the split, without which there is no
    such column.

    Raises:
        UserError: the file system refuses.
    """
    most = range(1, predictions.classes.shape[1] + 1)
    columns = ["class", *(f"class_{k}" for k in most), *(f"p_{k}" for k in most), "nll", "correct"]
    with replacing(path) as file:
        writer = _writer(file)
        writer.writerow(["image", *["file"] * bool(files), *columns])
        for index, *row in _rows(predictions, names, len(most)):
            writer.writerow([index, *map(str, files[index : index + 1]), *row])


class PairsFile:
    """Predictions on corrupted images, appended pair by pair: the columns :data:`OF_PAIRS`.

    `names` are those of the network's outputs. After :meth:`resume`, `pairs` are those in the file.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path, self.names = path, names
        self.pairs: set[tuple[str, int]] = set()

    def size(self, corruptions: Sequence[str], images: int) -> tuple[int, int]:
        """Return how many lines the file gets of `images` each, and about how many bytes."""
        lines = len(corruptions) * len(SEVERITIES) * images
        texts = fmean(map(len, corruptions)) + 2 * fmean(map(len, self.names)) + len(str(images))
        return lines, round(lines * (30 + texts))  # two numbers of about ten digits, and what separates all

    def resume(self, recorded: Mapping[tuple[str, int], tuple[float, float]], images: int) -> None:
        """Rewrite the file with its complete pairs of `images` each that have the `recorded` error and loss."""
        expected = {(name, str(severity)): result for (name, severity), result in recorded.items()}
        with replacing(self.path) as new:
            writer = _writer(new)
            writer.writerow(OF_PAIRS)
            if self.path.exists():
                with open(self.path, encoding="utf-8", errors="surrogateescape", newline="") as old:
                    for key, rows in groupby(csv.reader(old), key=lambda row: tuple(row[:2])):
                        block = list(rows)
                        if key in expected and len(block) == images and _agrees(block, *expected[key]):
                            writer.writerows(block)
                            self.pairs.add((key[0], int(key[1])))

    def append(self, name: str, severity: int, predictions: Predictions) -> None:
        """Append the lines of a pair; on return they are on the disk."""
        options: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
        with open(self.path, "a", **options, opener=lambda path, flags: open_no_follow(Path(path), flags)) as file:
            _writer(file).writerows((name, severity, *row) for row in _rows(predictions, self.names, 1))
            file.flush()
            os.fsync(file.fileno())


def agree(losses: Any, correct: Any, top1_error: float, loss: float) -> bool:
    """Return whether the predictions are those of a record: their error (in %) and mean loss are the same."""
    found = [100 - 100 * np.mean(correct), np.mean(losses)]
    return bool(np.allclose(found, [top1_error, loss], rtol=1e-4, atol=1e-6, equal_nan=True))


def _agrees(block: Sequence[Sequence[str]], top1_error: float, loss: float) -> bool:
    try:
        losses, correct = np.array([row[-2:] for row in block], dtype=float).T
    except ValueError:  # a line is cut off
        return False
    return agree(losses, correct, top1_error, loss)


def _rows(predictions: Predictions, names: Sequence[str], most: int) -> Iterator[tuple[Any, ...]]:
    """Yield index, class, the `most` likely classes, their probabilities, loss, correct (0 or 1) of each image."""
    named = np.array([*names, None], dtype=object)[:-1]  # one-dimensional even of a single name
    of_float = [*predictions.probabilities.T[:most], predictions.losses]
    columns = [named[part.numpy()] for part in (predictions.labels, *predictions.classes.T[:most])]
    columns += [part.numpy().astype(str) for part in of_float]  # the fewest digits that tell a float32 from the others
    yield from zip(predictions.images.tolist(), *columns, predictions.correct.int().tolist(), strict=True)
