"""From a checkpoint to the network and the images that it was made with."""

from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from models.published import load_published
from smoothmix.config import build, schema
from smoothmix.config import run_directory as run_dir
from smoothmix.training import checkpoint
from smoothmix.utils.distributed import TIMEOUT, Ranks, init_distributed
from smoothmix.utils.errors import UserError


def restore(asked: dict[str, Any]) -> tuple[dict[str, Any], Path, Any, nn.Module, Ranks]:
    """Return (configuration of the run, path of its weights, data set, network on the device, ranks).

    `asked` has the keys that configs/eval.yaml and configs/eval_corruption.yaml share.

    Raises:
        UserError: keys that contradict each other, or a file that is not what it should be.
    """
    if (asked["run"] is None) == (asked["checkpoint"] is None):
        raise UserError("give either run=RUN_DIR or checkpoint=FILE")
    if asked["weights"] not in ("best", "last"):
        raise UserError(f"weights must be best or last, not {asked['weights']!r}")
    if asked["batch_size"] is not None and asked["batch_size"] < 1:
        raise UserError(f"batch_size must be at least 1, not {asked['batch_size']}")
    path = Path(asked["checkpoint"] or Path(asked["run"], f"{asked['weights']}.pt")).expanduser()
    if asked["published"] is not None:
        if asked["checkpoint"] is None:
            raise UserError(f"published={asked['published']} is about a file: give it as checkpoint=FILE")
        config, weights = compose("train", [f"experiment={asked['published']}"]), load_published(path)
    else:
        state = checkpoint.load(path)
        config, weights = state["config"], state["model"]
        if "${" in repr(config):  # ours are stored resolved; a stranger's could read the environment
            raise UserError(f"{path} holds no configuration of a run: it refers to other values, as in ${{name}}")
    try:
        stored = OmegaConf.merge(config, {"dataset": {}})
        if OmegaConf.select(stored, "dataset.download"):  # nothing is fetched for what may be a stranger's file
            stored.dataset.download = False
    except OmegaConfBaseException as error:
        raise UserError(f"{path} holds no configuration of a run") from error
    config = schema.check(stored)
    changes = {key: value for key, value in asked["dataset"].items() if value is not None}
    for key in changes.keys() - config["dataset"].keys():
        if key not in schema.parameters_of("dataset", config["dataset"]):
            name = config["dataset"]["name"]
            raise UserError(f"the images of {name} have no {key}; leave out dataset.{key}={changes[key]}")
    config = schema.check(OmegaConf.merge(stored, {"dataset": changes}))
    run_dir.check_names(config)
    ranks = init_distributed(asked["device"], asked["timeout"])
    data = build.dataset(config)
    untrained = {**config["model"], "pretrained": False} if "pretrained" in config["model"] else config["model"]
    model = build.model({**config, "model": untrained}, data.num_classes, data.image_size)
    checkpoint.load_model(model, weights, path)
    return config, path, data, model.to(ranks.device), ranks


def restore_run(directory: Path) -> tuple[dict[str, Any], Path, Any, nn.Module, Ranks]:
    """Return what `restore` does, for the best weights of a run directory, its data where the run had them."""
    asked = {"run": directory, "checkpoint": None, "published": None, "weights": "best"}
    return restore(asked | {"batch_size": None, "device": "auto", "timeout": TIMEOUT, "dataset": {}})
