"""What the commands take that evaluate or export weights: configs/load.yaml, and a file of each command."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

from omegaconf import DictConfig

from smoothmix.config.schema import resolved
from smoothmix.evaluation.classes import CONVENTIONS
from smoothmix.training.recipe import check_choice
from smoothmix.utils.distributed import TIMEOUT
from smoothmix.utils.errors import UserError


@dataclass(kw_only=True)
class LoadOptions:
    """Which weights to load, and where: configs/load.yaml, and keys that most of the commands have.

    `dataset` and `model` are those of an external network, trained elsewhere, if they have a `_target_`; else `dataset`
    holds what differs from the run's.
    """

    run: str | None = None
    checkpoint: str | None = None
    published: str | None = None
    weights: str = "best"
    mean: list[float] | None = None
    std: list[float] | None = None
    output: str | None = None
    images: int | None = None
    predictions: bool = False
    classes: str = "subset"
    batch_size: int | None = None
    device: str = "auto"
    timeout: float = TIMEOUT
    dataset: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)

    @property
    def is_external(self) -> bool:
        """Whether a network is named that no run of this repository has made."""
        return "_target_" in self.dataset or any(value is not None for value in self.model.values())

    def check(self) -> None:
        """Raise UserError for options that contradict each other or name something unknown."""
        complete = "_target_" in self.dataset and "_target_" in self.model
        given = [self.run is not None, self.checkpoint is not None, self.is_external]
        if sum(given) != 1 or self.is_external != complete:
            raise UserError("give one of run=RUN_DIR, checkpoint=FILE, or a network: model=NAME dataset=NAME")
        if self.is_external and (not self.model.get("checkpoint")) == (not self.model.get("pretrained")):
            raise UserError(
                f"give model={self.model.get('name')} its weights: either model.checkpoint=FILE, or those that timm "
                "publishes, +model.pretrained=true"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and not self.is_external:
                raise UserError(f"{name}={values} applies only to model=NAME; a run or a checkpoint has its own")
            if values is not None and (len(values) != 3 or (name == "std" and min(values) <= 0)):
                raise UserError(f"{name}={values} should be a number for each of the three channels, for values 0 to 1")
        if self.published is not None and self.checkpoint is None:
            raise UserError(f"published={self.published} describes a checkpoint; add checkpoint=FILE")
        check_choice("weights", self.weights, ("best", "last"))
        check_choice("classes", self.classes, CONVENTIONS)
        if self.batch_size is not None and self.batch_size < 1:
            raise UserError(f"batch_size must be at least 1, not {self.batch_size}")


@dataclass(kw_only=True)
class EvalOptions(LoadOptions):
    """The top level of configs/eval.yaml."""

    split: str = "test"

    def check(self) -> None:
        """Raise UserError for options that contradict each other or name something unknown."""
        super().check()
        if self.images is not None and self.split != "test":
            raise UserError(f"images={self.images} selects test images; leave out split={self.split}")


@dataclass(kw_only=True)
class EvalCorruptionOptions(LoadOptions):
    """The top level of configs/eval_corruption.yaml."""

    benchmark: str | None = None
    source: str | None = None
    files: str | None = None
    corruptions: list[str] | None = None
    seed: int = 0

    def check(self) -> None:
        """Raise UserError for options that contradict each other or name something unknown."""
        super().check()
        if self.source is None:  # only what has been published can be read
            self.source = "files" if self.benchmark else "generate"
        check_choice("source", self.source, ("files", "generate"))
        if self.source == "files" and self.benchmark is None:
            raise UserError("source=files reads the images of a benchmark: name it, as in benchmark=cifar100_c")


@dataclass(kw_only=True)
class ExportOptions(LoadOptions):
    """The top level of configs/export.yaml; `output` is the folder that is written."""

    half: bool = False


Options = TypeVar("Options", bound=LoadOptions)


def check_options(composed: DictConfig, schema: type[Options]) -> Options:
    """Return the composed options of an evaluation, resolved.

    Raises:
        UserError: an unknown or missing key, or a value that cannot be used.
    """
    options = schema(**resolved(composed, schema))
    options.check()
    return options
