"""What a table asks of an evaluation on corrupted images, and when that is complete."""

from dataclasses import dataclass

from smoothmix.evaluation.averages import Errors, incomplete


@dataclass(frozen=True)
class CorruptedEvaluation:
    """The errors of a run's `weights` (best or last) on all `corruptions` of a `benchmark`, at all five severities.

    `images` is the number of test images that are corrupted, None for all of them.
    """

    benchmark: str
    corruptions: tuple[str, ...]
    weights: str = "best"
    images: int | None = None

    def record_name(self, source: str) -> str:
        """Return the file name of the record in the run directory; `source` of the images is files or generate."""
        subset = f"-{self.images}" if self.images else ""
        return f"{self.weights}.{self.benchmark}-{source}{subset}.json"

    def overrides(self, source: str) -> list[str]:
        """Return the overrides by which eval_corruption.py makes that record."""
        weights = [f"weights={self.weights}"] if self.weights != "best" else []
        images = [f"images={self.images}"] if self.images else []
        return [f"benchmark={self.benchmark}", *([f"source={source}"] if source != "files" else []), *weights, *images]

    def missing(self, errors: Errors) -> list[str]:
        """Return the corruptions still to be evaluated: none if the evaluation is complete."""
        return incomplete(errors, self.corruptions)
