"""The record that a finished run leaves: `summary.json`."""

import json
from pathlib import Path

from smoothmix.training.trainer import Trainer, best_row
from smoothmix.utils.environment import environment
from smoothmix.utils.files import write_text


def write_summary(trainer: Trainer, config_hash: str) -> Path:
    """Write `summary.json`, the record of a finished run, beside its checkpoints; return its path."""
    config, history, ranks = trainer.config, trainer.history, trainer.ranks
    record = {
        "dataset": config["dataset"]["name"],
        "model": config["model"]["name"],
        "method": config["method"],
        "recipe": config["recipe"]["name"],
        "config_hash": config_hash,
        "seed": config["seed"],
        "epochs": trainer.recipe.epochs,
        "selected_on": trainer.select_on,
        "evaluate_every": trainer.settings.evaluate_every,
        "best": best_row(history, trainer.select_on),
        "last": history[-1],
        "images": trainer.data.sizes,
        "data_fingerprint": trainer.data.fingerprint,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "images_per_second": sorted(row["images_per_second"] for row in history)[len(history) // 2],
        "seconds": sum(row["seconds"] for row in history),
        "precision": trainer.execution.precision,
        "channels_last": trainer.execution.channels_last,
        "step": trainer.execution.step,
        "world_sizes": trainer.world_sizes,
        "batch_per_rank": trainer.recipe.batch_size // ranks.world_size,
        **environment(ranks.device),
    }
    path = trainer.directory / "summary.json"
    write_text(path, json.dumps(record, indent=2) + "\n")
    return path
