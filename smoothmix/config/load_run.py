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
from smoothmix.evaluation.classes import Outputs, class_facts, outputs_for
from smoothmix.evaluation.classification import Predictions, batch_size, errors, predict
from smoothmix.evaluation.clean import CleanRecord
from smoothmix.training import checkpoint
from smoothmix.utils.data import Batches, ImageDataset
from smoothmix.utils.distributed import Ranks, init_distributed
from smoothmix.utils.environment import start
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import is_small, make_folder, weights_digest
from smoothmix.utils.weights import (
    class_names_in,
    in_precision_of,
    limited,
    load_model,
    read_weights,
    tensors_digest,
)

STARTING_WEIGHTS = ("pretrained", "weights")  # options of a network that matter at the start of a training only


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A trained network on its device, with its data set.

    `config` is the run's configuration, `path` the file of the weights, `batch_size` that of one rank's evaluation
    batches, `channels_last` the memory format of images and weights. `origin` is "run", "published" (a checkpoint of
    the CutMix authors) or "external"; of an external network, `config` says only what data set and network are.
    Records go to the folder `output`.

    Output k of the `network` is the class ``class_names[k]``; those of the `model` are the data set's classes, compared
    by name. Where the data set has a part of the network's classes, `classes` says whether the others can be predicted
    ("all") or not ("subset"); else it is None.
    """

    config: RunConfig
    path: Path
    data: ImageDataset
    network: nn.Module
    model: nn.Module
    class_names: list[str]
    classes: str | None
    ranks: Ranks
    batch_size: int
    channels_last: bool
    origin: str
    output: Path

    def eval_batches(self, split: str, data: ImageDataset | None = None) -> Batches:
        """Return this rank's batches of the clean images of `split`, or of those in `data`, a part of the data set."""
        return (data or self.data).eval_batches(split, self.batch_size * self.ranks.world_size, self.ranks)

    @property
    def convention(self) -> str:
        """What a reader must know of errors on a part of the network's classes, as the end of a clause; or nothing."""
        if self.classes is None:
            return ""
        over = "over these alone" if self.classes == "subset" else "over all"
        return f", {self.data.num_classes} of the network's {len(self.class_names)} classes, argmax {over}"

    def identity(self) -> dict[str, Any]:
        """Return what a record of this network's errors says about where its weights come from."""
        digest = weights_digest(self.path) if self.path.is_file() else tensors_digest(self.network)
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
        published = {"architecture": None, "tag": None} | getattr(self.network, "pretrained_cfg", {})
        return {
            "weights_file": self.path.name if self.path.is_file() else "timm {architecture}.{tag}".format(**published),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            **class_facts(self.class_names),
            **({} if self.classes is None else {"classes": self.classes, "evaluated_classes": self.data.num_classes}),
            "image_size": self.data.image_size,
            "mean": self.data.mean,
            "std": self.data.std,
        }

    @property
    def output_names(self) -> list[str]:
        """The class of each output of the `model`: the data set's classes first, by label."""
        outputs = self.model.outputs.tolist() if isinstance(self.model, Outputs) else []
        return self.data.class_names + [self.class_names[output] for output in outputs[self.data.num_classes :]]

    def predict(self, batches: Batches) -> Predictions:
        """Return what the `model` says of all ranks' images, of which `batches` are this rank's."""
        return predict(self.model, batches, self.ranks, channels_last=self.channels_last)

    def evaluate(self, split: str, data: ImageDataset | None = None) -> tuple[CleanRecord, Predictions]:
        """Return the errors on the clean images of `split`, or of `data`, a part of the data set, and what was said."""
        work = start(self.ranks.device)
        predictions = self.predict(self.eval_batches(split, data))
        result: dict[str, Any] = errors(predictions)
        record = CleanRecord(
            **self.identity(),
            **result,
            split=split,
            split_images=self.data.sizes[split],
            starts=[work],
            extra=self.about() | {"world_size": self.ranks.world_size},
        )
        return record, predictions

    def description(self) -> dict[str, Any]:
        """Return what others must know to use the weights; see :func:`smoothmix.pretrained.save_pretrained`."""
        model, sizes = self.config.model.to_dict(), ("image_size", "resize")
        return {
            **self.identity(),
            "model": {key: value for key, value in model.items() if key not in STARTING_WEIGHTS},
            "num_classes": len(self.class_names),
            "class_names": self.class_names,
            **{key: value for key in sizes if (value := getattr(self.data, key, None)) is not None},
            "mean": self.data.mean,
            "std": self.data.std,
        }

    def record_path(self, images: str, source: str, number: int | None = None) -> Path:
        """Return where the errors on `images` (a benchmark, a data set) from a `source`, or a `number` of them, go."""
        subset = ("" if number is None else f"-{number}") + ("" if self.classes is None else f"-{self.classes}_classes")
        return self.output / f"{self.path.stem}.{images}-{source}{subset}.json"


def load_run(options: LoadOptions) -> LoadedRun:
    """Rebuild the data set and the network of a run, and load its weights; the options have been checked.

    An external network is built from the options. Its images are normalised with the `mean` and `std` of the options,
    else with those of the published weights, else with those of the data set.

    Raises:
        UserError: a file that is missing, damaged or not a checkpoint, options that do not fit its data set, or a data
            set of classes that the network does not know.
    """
    origin = _external if options.is_external else _cutmix_authors if options.published else _run
    source = origin(options)
    config, path, names = source.config, source.path, source.class_names
    run_dir.check_names(config)  # of folders
    ranks = init_distributed(options.device, options.timeout)
    data = build.dataset(config if names is None else _with_any_classes(config))
    if names is None:
        names = data.class_names
        if source.origin == "run" and all(map(str.isdecimal, names)):
            names = sorted(names)  # runs that stored no names numbered the folders 0, 1, ... 10 in the order of text
        if ranks.is_main:
            print(f"note: {path} does not name its classes; they are taken for the data set's, {names[0]!r} first")
    outputs = outputs_for(data.class_names, names, options.classes)
    if source.weights is None:
        network = build.model(config, len(names), data.image_size)
    else:
        # it gets its own weights, and fetches none that are published
        own = {key: value for key, value in config.model.options.items() if key not in STARTING_WEIGHTS}
        untrained = replace(config, model=replace(config.model, options=own))
        with limited(source.weights, path):
            network = build.model(untrained, len(names), data.image_size)
    if options.is_external:
        published = {} if source.weights else _published_normalisation(network, config, len(names))
        data.mean = tuple(options.mean or published.get("mean", data.mean))
        data.std = tuple(options.std or published.get("std", data.std))
    if source.weights is not None:
        load_model(network, in_precision_of(network, source.weights) if options.is_external else source.weights, path)
    output = Path(options.output).expanduser() if options.output else path.parent
    if options.output or source.weights is None:
        make_folder(output, "output=")
    network = network.to(ranks.device)
    return LoadedRun(
        config=config,
        path=path,
        data=data,
        network=network,
        model=network if outputs is None else Outputs(network, outputs).to(ranks.device),
        class_names=names,
        classes=options.classes if len(data.class_names) < len(names) else None,
        ranks=ranks,
        batch_size=options.batch_size or batch_size(ranks.device),
        channels_last=config.uses_channels_last(ranks.device),
        origin=source.origin,
        output=output,
    )


# ---- where weights come from


@dataclass(frozen=True, eq=False)
class _Source:
    """What an origin says of a network; `weights` are None for those that timm publishes, `class_names` if unknown."""

    origin: str
    config: RunConfig
    path: Path
    weights: dict[str, Tensor] | None
    class_names: list[str] | None


def _run(options: LoadOptions) -> _Source:
    """Return what a checkpoint of this repository holds."""
    path = Path(options.checkpoint or Path(options.run or "", f"{options.weights}.pt")).expanduser()
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
        for key in ("decode", "verify"):  # of older runs, when there was a choice
            if OmegaConf.select(stored, f"dataset.{key}") is not None:
                del stored.dataset[key]
    except OmegaConfBaseException as error:
        raise UserError(f"{path} holds no configuration of a run") from error
    names = class_names_in(state, path)
    return _Source("run", _with_changes(stored, options.dataset), path, state["model"], names)


def _cutmix_authors(options: LoadOptions) -> _Source:
    """Return what a checkpoint of the CutMix authors holds, of the network of the experiment ``published=``."""
    path = Path(options.checkpoint or "").expanduser()
    weights = importlib.import_module("models.published").load_published(path)
    config = _with_changes(compose("train", [f"experiment={options.published}"]), options.dataset)
    return _Source("published", config, path, weights, None)


def _external(options: LoadOptions) -> _Source:
    """Return a network trained elsewhere; of its configuration only data set and network mean anything."""
    stored = compose("train", ["mixing=identity"])
    stored.method = "external"
    # keys of other data sets are null
    stored.dataset = {key: value for key, value in options.dataset.items() if value is not None}
    stored.model = {key: value for key, value in options.model.items() if key != "checkpoint"}
    config = schema.check(stored)
    if file := options.model.get("checkpoint"):
        path = Path(file).expanduser()
        return _Source("external", config, path, *read_weights(path))
    path = Path("outputs", "external", config.dataset.name, f"{config.model.name}.published")
    return _Source("external", config, path, None, _published_classes(config.model.name))


def _with_changes(stored: DictConfig, dataset: dict[str, Any]) -> RunConfig:
    """Return the stored configuration of a run with those values of `dataset` that are not None."""
    config = schema.check(stored)
    changes = {key: value for key, value in dataset.items() if value is not None}
    for key in changes.keys() - config.dataset.options.keys() - {"name"}:
        if key not in config.dataset.parameters:
            name = config.dataset.name
            raise UserError(f"the data set {name} has no {key}; leave out dataset.{key}={changes[key]}")
    if changes:
        before = config.dataset.options
        if "image_size" in changes and "resize" in before:  # which follows it
            changes = {"resize": rescale(before["resize"], changes["image_size"], before["image_size"]), **changes}
        stored.dataset.update(changes)
        config = schema.check(stored)
    return config


# ---- their classes


def _with_any_classes(config: RunConfig) -> RunConfig:
    """Return `config` without a number of classes that its data set must have: they are compared by name."""
    options = {key: value for key, value in config.dataset.options.items() if key != "num_classes"}
    return replace(config, dataset=replace(config.dataset, options=options))


def _published_classes(name: str) -> list[str] | None:
    """Return the names of the classes that the weights which timm publishes as `name` tell, if they are ImageNet's."""
    timm = importlib.import_module("timm")
    known = timm.is_model(name.partition(".")[0])
    subset = timm.data.infer_imagenet_subset(timm.get_pretrained_cfg(name)) if known else None
    return subset and timm.data.ImageNetInfo(subset).label_names()


def _published_normalisation(model: nn.Module, config: RunConfig, num_classes: int) -> dict[str, Any]:
    """Return the mean and the std with which the published weights of `model` were trained.

    Raises:
        UserError: they tell another number of classes than the data set has, so the head is a new one.
    """
    published: dict[str, Any] = getattr(model, "pretrained_cfg", {})
    if (classes := published.get("num_classes")) != num_classes:
        raise UserError(
            f"the published weights of {config.model.name} tell {classes} classes and {config.dataset.name} has "
            f"{num_classes}: finetune them (train.py), or give weights for these classes as model.checkpoint=FILE"
        )
    return published
