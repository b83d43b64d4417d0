"""The record that a finished run leaves: `summary.json`."""

import json
import platform
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from smoothmix.training.run_log import write_text
from smoothmix.training.trainer import Trainer, best_row


def write_summary(trainer: Trainer, config_hash: str) -> Path:
    """Write `summary.json`, the record of a finished run, beside its checkpoints; return its path."""
    config, history, ranks = trainer.config, trainer.history, trainer.ranks
    device = torch.cuda.get_device_name(ranks.device) if ranks.device.type == "cuda" else _cpu_name()
    record = {
        "dataset": config["dataset"]["name"],
        "model": config["model"]["name"],
        "method": config["method"],
        "recipe": config["recipe"]["name"],
        "config_hash": config_hash,
        "seed": config["seed"],
        "epochs": trainer.recipe.epochs,
        "selected_on": trainer.select_on,
        "best": best_row(history, trainer.select_on),
        "last": history[-1],
        "images": trainer.data.sizes,
        "data_fingerprint": trainer.data.fingerprint,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "images_per_second": sorted(row["images_per_second"] for row in history)[len(history) // 2],
        "seconds": sum(row["seconds"] for row in history),
        "device": device,
        "threads": torch.get_num_threads(),
        "precision": trainer.settings.precision,
        "world_sizes": trainer.world_sizes,
        "batch_per_rank": trainer.recipe.batch_size // ranks.world_size,
        "versions": {"python": platform.python_version(), **_versions("torch", "torchvision", "timm")},
        "git_commit": git_commit(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
    path = trainer.directory / "summary.json"
    write_text(path, json.dumps(record, indent=2) + "\n")
    return path


def _versions(*packages: str) -> dict[str, str]:
    installed = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed


def git_commit() -> str | None:
    """Return the commit of this repository, with ``-dirty`` for changed files, or None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
