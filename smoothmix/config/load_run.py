"""From a checkpoint, or a network that was trained elsewhere, to the network and the images to evaluate it on."""

import hashlib
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
from smoothmix.config.options import LoadOptions
from smoothmix.config.schema import RunConfig, rescale
from smoothmix.evaluation.classification import batch_size, evaluate
from smoothmix.evaluation.clean import CleanRecord
from smoothmix.training import checkpoint
from smoothmix.utils.data import Batches, ImageDataset
from smoothmix.utils.distributed import Ranks, init_distributed
from smoothmix.utils.environment import start
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import is_small, make_folder, weights_digest
from smoothmix.utils.weights import in_precision_of, limited, load_model, read_weights, tensors_digest


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A trained network on its device, with its data set.

    `config` is the run's configuration, `path` the file of the weights, `batch_size` that of one rank's evaluation
    batches, `channels_last` the memory format of images and weights. `origin` is "run", "published" (a checkpoint of
    the CutMix authors) or "external"; of an external network, `config` says only what data set and network are.
    Records go to the folder `output`.
    """

    config: RunConfig
    path: Path
    data: ImageDataset
    model: nn.Module
    ranks: Ranks
    batch_size: int
    channels_last: bool
    origin: str
    output: Path

    def eval_batches(self, split: str, data: ImageDataset | None = None) -> Batches:
        """Return this rank's batches of the clean images of `split`, or of those in `data`, a part of the data set."""
        return (data or self.data).eval_batches(split, self.batch_size * self.ranks.world_size, self.ranks)

    def identity(self) -> dict[str, Any]:
        """Return what a record of this network's errors says about where its weights come from."""
        digest = weights_digest(self.path) if self.path.is_file() else tensors_digest(self.model)
        recipe, number = self.config.recipe, run_dir.config_hash(self.config)
        facts: dict[str, Any] = {"recipe": self.origin, "config_hash": digest[:8], "seed": None, "epochs": None}
        if self.origin == "run":
            facts = {"recipe": recipe.name, "config_hash": number, "seed": self.config.seed, "epochs": recipe.epochs}
        elif self.origin == "external":  # the same weights may be given other images
            counted = f"{digest} {number} {self.data.mean} {self.data.std}"
            facts["config_hash"] = hashlib.sha256(counted.encode()).hexdigest()[:8]
        return {
            "weights": self.path.stem,
            "weights_sha256": digest,
            "dataset": self.config.dataset.name,
            "model": self.config.model.name,
            "method": self.config.method,
            "data_fingerprint": self.data.fingerprint,
            **facts,
        }

    def about(self) -> dict[str, Any]:
        """Return what a record says of weights and images beside the identity."""
        published = {"architecture": None, "tag": None} | getattr(self.model, "pretrained_cfg", {})
        return {
            "weights_file": self.path.name if self.path.is_file() else "timm {architecture}.{tag}".format(**published),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "image_size": self.data.image_size,
            "mean": self.data.mean,
            "std": self.data.std,
        }

    def evaluate(self, split: str, data: ImageDataset | None = None) -> CleanRecord:
        """Return the errors on the clean images of `split`, or on those of `data`, a part of the data set."""
        work = start(self.ranks.device)
        batches = self.eval_batches(split, data)
        result: dict[str, Any] = evaluate(self.model, batches, self.ranks, channels_last=self.channels_last)
        return CleanRecord(
            **self.identity(),
            **result,
            split=split,
            split_images=self.data.sizes[split],
            starts=[work],
            extra=self.about() | {"world_size": self.ranks.world_size},
        )

    def description(self) -> dict[str, Any]:
        """Return what others must know to use the weights; see :func:`smoothmix.pretrained.save_pretrained`."""
        model, sizes = self.config.model.to_dict(), ("image_size", "resize")
        return {
            **self.identity(),
            "model": {key: value for key, value in model.items() if key != "pretrained"},
            "num_classes": self.data.num_classes,
            "class_names": self.data.class_names,
            **{key: value for key in sizes if (value := getattr(self.data, key, None)) is not None},
            "mean": self.data.mean,
            "std": self.data.std,
        }

    def record_path(self, images: str, source: str, number: int | None = None) -> Path:
        """Return where the errors on `images` (a benchmark, a data set) from a `source`, or a `number` of them, go."""
        subset = "" if number is None else f"-{number}"
        return self.output / f"{self.path.stem}.{images}-{source}{subset}.json"


def load_run(options: LoadOptions) -> LoadedRun:
    """Rebuild the data set and the network of a run, and load its weights; the options have been checked.

    An external network is built from the options. Its images are normalised with the `mean` and `std` of the options,
    else with those of the published weights, else with those of the data set.

    Raises:
        UserError: a file that is missing, damaged or not a checkpoint, or options that do not fit its data set.
    """
    weights: dict[str, Tensor] | None = None
    if options.is_external:
        config, file = schema.check(_external(options)), options.model.get("checkpoint")
        run_dir.check_names(config)  # of folders
        path = Path(file or f"outputs/external/{config.dataset.name}/{config.model.name}.published").expanduser()
        if file is not None:
            weights = read_weights(path)
    else:
        path = Path(options.checkpoint or Path(options.run or "", f"{options.weights}.pt")).expanduser()
        stored, weights = _stored(options, path)
        config = _with_changes(stored, options.dataset)
        run_dir.check_names(config)
    ranks = init_distributed(options.device, options.timeout)
    data = build.dataset(config)
    if weights is None:
        model = build.model(config, data.num_classes, data.image_size)
    else:
        # it gets its own weights, and fetches none that are published
        own = {key: False if key == "pretrained" else value for key, value in config.model.options.items()}
        untrained = replace(config, model=replace(config.model, options=own))
        with limited(weights, path):
            model = build.model(untrained, data.num_classes, data.image_size)
    if options.is_external:
        published = _published_normalisation(model, config, data) if weights is None else {}
        data.mean = tuple(options.mean or published.get("mean", data.mean))
        data.std = tuple(options.std or published.get("std", data.std))
    if weights is not None:
        load_model(model, in_precision_of(model, weights) if options.is_external else weights, path)
    output = Path(options.output).expanduser() if options.output else path.parent
    if options.output or weights is None:
        make_folder(output, "output=")
    return LoadedRun(
        config=config,
        path=path,
        data=data,
        model=model.to(ranks.device),
        ranks=ranks,
        batch_size=options.batch_size or batch_size(ranks.device),
        channels_last=config.uses_channels_last(ranks.device),
        origin="external" if options.is_external else "published" if options.published else "run",
        output=output,
    )


def _external(options: LoadOptions) -> DictConfig:
    """Return the configuration of an external network, in which only data set and network mean anything."""
    stored = compose("train", ["mixing=identity"])
    stored.method = "external"
    # keys of other data sets are null
    stored.dataset = {key: value for key, value in options.dataset.items() if value is not None}
    stored.model = {key: value for key, value in options.model.items() if key != "checkpoint"}
    return stored


def _published_normalisation(model: nn.Module, config: RunConfig, data: ImageDataset) -> dict[str, Any]:
    """Return the mean and the std with which the published weights of `model` were trained.

    Raises:
        UserError: they tell other classes than the data set has, so the head is a new one.
    """
    published: dict[str, Any] = getattr(model, "pretrained_cfg", {})
    if (classes := published.get("num_classes")) != data.num_classes:
        raise UserError(
            f"the published weights of {config.model.name} tell {classes} classes and {config.dataset.name} has "
            f"{data.num_classes}: finetune them (train.py), or give weights for these classes as model.checkpoint=FILE"
        )
    return published


def _with_changes(stored: DictConfig, dataset: dict[str, Any]) -> RunConfig:
    """Return the stored configuration of a run with those values of `dataset` that are not None."""
    config = schema.check(stored)
    changes = {key: value for key, value in dataset.items() if value is not None}
    for key in changes.keys() - config.dataset.options.keys():
        if key not in schema.parameters_of("dataset", config.dataset):
            name = config.dataset.name
            raise UserError(f"the data set {name} has no {key}; leave out dataset.{key}={changes[key]}")
    if changes:
        before = config.dataset.options
        if "image_size" in changes and "resize" in before:  # which follows it
            changes = {"resize": rescale(before["resize"], changes["image_size"], before["image_size"]), **changes}
        stored.dataset.update(changes)
        config = schema.check(stored)
    return config


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
