"""From a checkpoint to the network and the images that it was made with."""

import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from smoothmix.config import build, schema
from smoothmix.config import run_directory as run_dir
from smoothmix.config.command_line import compose
from smoothmix.config.schema import LoadOptions, RunConfig
from smoothmix.evaluation.classification import batch_size
from smoothmix.training import checkpoint
from smoothmix.utils.checks import is_small
from smoothmix.utils.data import Batches, ImageDataset
from smoothmix.utils.distributed import Ranks, init_distributed
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import weights_digest
from smoothmix.utils.weights import load_model


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A trained network on its device, with its data set.

    `config` is the run's configuration, `path` the file of the weights, `batch_size` that of one rank's evaluation
    batches, `channels_last` the memory format of images and weights. `published` weights come from other code.
    """

    config: RunConfig
    path: Path
    data: ImageDataset
    model: nn.Module
    ranks: Ranks
    batch_size: int
    channels_last: bool
    published: bool

    def eval_batches(self, split: str) -> Batches:
        """Return this rank's batches of the clean images of `split`."""
        return self.data.eval_batches(split, self.batch_size * self.ranks.world_size, self.ranks)

    def identity(self) -> dict[str, Any]:
        """Return what a record of this network's errors says about where its weights come from."""
        digest = weights_digest(self.path)
        if self.published:
            facts: dict[str, Any] = {"recipe": "published", "config_hash": digest[:8], "seed": None, "epochs": None}
        else:
            recipe, number = self.config.recipe, run_dir.config_hash(self.config)
            facts = {"recipe": recipe.name, "config_hash": number, "seed": self.config.seed, "epochs": recipe.epochs}
        return {
            "weights": self.path.stem,
            "weights_sha256": digest,
            "dataset": self.config.dataset.name,
            "model": self.config.model.name,
            "method": self.config.method,
            "data_fingerprint": self.data.fingerprint,
            **facts,
        }

    def record_path(self, benchmark: str, source: str, images: int | None = None) -> Path:
        """Return where the errors on a corrupted benchmark, or on this number of its images, are recorded."""
        subset = "" if images is None else f"-{images}"
        return self.path.with_name(f"{self.path.stem}.{benchmark}-{source}{subset}.json")


def load_run(options: LoadOptions) -> LoadedRun:
    """Rebuild the data set and the network of a run, and load its weights; the options have been checked.

    Raises:
        UserError: a file that is missing, damaged or not a checkpoint, or options that do not fit its data set.
    """
    path = Path(options.checkpoint or Path(options.run or "", f"{options.weights}.pt")).expanduser()
    stored, weights = _stored(options, path)
    config = schema.check(stored)
    changes = {key: value for key, value in options.dataset.items() if value is not None}
    for key in changes.keys() - config.dataset.options.keys():
        if key not in schema.parameters_of("dataset", config.dataset):
            name = config.dataset.name
            raise UserError(f"the data set {name} has no {key}; leave out dataset.{key}={changes[key]}")
    if changes:
        stored.dataset.update(changes)
        config = schema.check(stored)
    run_dir.check_names(config)
    ranks = init_distributed(options.device, options.timeout)
    data = build.dataset(config)
    model = build.model(_untrained(config), data.num_classes, data.image_size)
    load_model(model, weights, path)
    return LoadedRun(
        config=config,
        path=path,
        data=data,
        model=model.to(ranks.device),
        ranks=ranks,
        batch_size=options.batch_size or batch_size(ranks.device),
        channels_last=config.uses_channels_last(ranks.device),
        published=options.published is not None,
    )


def _untrained(config: RunConfig) -> RunConfig:
    """Return `config` with a network that fetches no published weights: it gets its own."""
    if "pretrained" not in config.model.options:
        return config
    return replace(config, model=replace(config.model, options=config.model.options | {"pretrained": False}))


def _stored(options: LoadOptions, path: Path) -> tuple[DictConfig, dict[str, Tensor]]:
    """Return the configuration and the weights of the file `path`."""
    if options.published is not None:
        load_published = importlib.import_module("models.published").load_published
        return compose("train", [f"experiment={options.published}"]), load_published(path)
    try:
        state = checkpoint.load(path)
    except UserError as error:
        if options.run is None or options.weights == "last" or not path.with_name("last.pt").exists():
            raise
        raise UserError(f"{error}; give weights=last to evaluate the last epoch instead") from error
    if not is_small(state["config"]):
        raise UserError(f"{path} holds no configuration of a run: it has too many values, or is nested too deeply")
    if "${" in repr(state["config"]):  # ours are stored resolved; a stranger's could read the environment
        raise UserError(f"{path} holds no configuration of a run: it refers to other values, as in ${{name}}")
    try:
        stored = OmegaConf.merge(state["config"], {"dataset": {}})
        assert isinstance(stored, DictConfig)
        if OmegaConf.select(stored, "dataset.download"):  # nothing is fetched for what may be a stranger's file
            stored.dataset.download = False
        if OmegaConf.select(stored, "dataset.decode"):  # how training images were read, when there was a choice
            del stored.dataset["decode"]
    except OmegaConfBaseException as error:
        raise UserError(f"{path} holds no configuration of a run") from error
    return stored, state["model"]
