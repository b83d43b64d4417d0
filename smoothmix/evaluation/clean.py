"""Errors on clean images, kept in a record beside the weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from smoothmix.evaluation.averages import wilson_interval
from smoothmix.utils.records import Count, Name, Percentage, Record, is_float

MOST_IMAGES = 10**8  # of a split; ImageNet-21k has 14 million


@dataclass(frozen=True, kw_only=True)
class CleanRecord(Record):
    """The errors (in %) and the calibration of a network on clean images, as :func:`evaluate` returns them.

    `weights` is the stem of the file of weights, `split_images` the number of images in the whole split, of which
    `images` were evaluated.
    """

    WHAT: ClassVar[str] = "a record of clean errors; move it away and evaluate again"

    split: Name
    weights: Name
    images: Annotated[int, lambda value: type(value) is int and value > 0]
    split_images: Count
    top1_error: Percentage
    top5_error: Percentage
    loss: Annotated[float, is_float]
    brier: Annotated[float, is_float]
    ece: Annotated[float, is_float]
    adaptive_ece: Annotated[float, is_float]
    weights_sha256: Name
    data_fingerprint: Name

    @classmethod
    def parse(cls, content: dict[str, Any], path: Path = Path()) -> Self:
        """Return the record that a JSON object is; raises as :meth:`Record.parse`."""
        record = super().parse(content, path)
        if not record.images <= record.split_images <= MOST_IMAGES:
            raise ValueError(f"{record.images} of {record.split_images} images cannot be")
        return record

    @property
    def is_subset(self) -> bool:
        """Whether only a part of the split was evaluated."""
        return self.images < self.split_images

    def __str__(self) -> str:
        low, high = wilson_interval(self.top1_error, self.images)
        part = f", a subset of {self.split_images}" if self.is_subset else ""
        return (
            f"top-1 error {self.top1_error:.2f}% (95 % interval {low:.2f} to {high:.2f}%), top-5 error "
            f"{self.top5_error:.2f}%, loss {self.loss:.4f}, {self.images} images{part}; "
            f"Brier score {self.brier:.4f}, ECE {self.ece:.2f}%, adaptive ECE "
            f"{self.adaptive_ece:.2f}%"
        )
