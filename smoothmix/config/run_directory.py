"""Where a run lives: a folder that its configuration alone decides, so that a requeued job finds its checkpoint."""

import hashlib
import json
import os
from pathlib import Path
from typing import IO, Any

import yaml

from smoothmix.config.schema import RunConfig
from smoothmix.utils.data import other_images
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import hold, make_folder, read_text, write_text
from smoothmix.utils.records import RunRecord

# keys that do not change the result: paths, workers, logging, device, how the step is launched
IGNORED = {"output", "device", "timeout", "step", "log_every", "log_images_every", "logger", "checkpoint_every"}
IGNORED_OF_DATASET = {"root", "download", "verify", "workers"}
# keys that came later, with the value that changes nothing: runs that began without them keep their folder
ADDED = {"evaluate_every": 1}
ADDED_TO_DATASET = {"decode": "exact", "labels": "fine", "per_class": None, "subset": "fixed"}


def what_counts(config: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a stored configuration that changes the result of a run."""
    counted = {key: value for key, value in config.items() if key not in IGNORED and (key, value) not in ADDED.items()}
    counted["dataset"] = {
        key: value
        for key, value in config["dataset"].items()
        if key not in IGNORED_OF_DATASET and (key, value) not in ADDED_TO_DATASET.items()
    }
    return counted


def config_hash(config: RunConfig) -> str:
    """Return eight hexadecimal digits that stand for everything that counts, except the seed."""
    counted = {key: value for key, value in what_counts(config.to_dict()).items() if key != "seed"}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:8]


def run_directory(config: RunConfig) -> Path:
    """Return ``<output>/<dataset>/<model>/<method>/<recipe>-<hash8>/seed<k>``.

    Raises:
        UserError: one of the names cannot be a folder's name.
    """
    *folders, recipe = check_names(config)
    setting = Path(config.output).expanduser().joinpath(*folders, f"{recipe}-{config_hash(config)}")
    return setting / f"seed{config.seed}"


def check_names(config: RunConfig) -> list[str]:
    """Return the names of data set, model, method and recipe; raise UserError for one that cannot be a folder's."""
    names = [config.dataset.name, config.model.name, config.method, config.recipe.name]
    for name in names:
        if not name.isprintable() or not name or name.startswith(".") or "/" in name or "\\" in name:
            raise UserError(f"{name!r} cannot name a folder of the run directory; use letters, digits, '-' and '_'")
    return names


def is_finished(directory: Path, data_fingerprint: str) -> bool:
    """Return whether `directory` holds a finished run.

    Raises:
        UserError: it does, but of other images, or its record cannot be read.
    """
    path = directory / "summary.json"
    if not os.path.lexists(path):
        return False
    fingerprint = RunRecord.read(path).data_fingerprint
    if fingerprint != data_fingerprint:
        raise other_images(f"{directory} holds a finished run", str(fingerprint), data_fingerprint)
    return True


def lock(directory: Path, config: RunConfig) -> IO[str]:
    """Lock `directory`, and store the configuration in it or compare it with the stored one.

    The lock lasts until the returned file is closed, at the latest until the process ends, however it ends.

    Raises:
        UserError: the folder cannot be written, another process has locked it, or it holds a run of another
            configuration (the differing keys are named).
    """
    path = directory / "config.yaml"
    make_folder(directory, "output=")
    try:
        file = hold(directory / ".lock", directory)
    except OSError as error:
        raise UserError(f"cannot write to {directory} ({error.strerror}); choose another output=") from error
    if path.exists():
        stored = read(path)
        differing = sorted(_differences(what_counts(stored), what_counts(config.to_dict())))
        if differing:
            named = ", ".join([*differing[:8], *["..."] * (len(differing) > 8)])
            raise UserError(f"{directory} holds a run of another configuration: {named} differ")
    write_text(path, yaml.safe_dump(config.to_dict(), sort_keys=False))
    return file


def read(path: Path) -> dict[str, Any]:
    """Return a stored configuration: plain values only.

    Raises:
        UserError: the file is missing, or is not YAML of plain values.
    """
    try:
        config = yaml.safe_load(read_text(path))
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); is {path.parent} a run directory?") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not YAML of plain values: {str(error).splitlines()[0]}") from error
    if not isinstance(config, dict) or not isinstance(config.get("dataset"), dict):
        raise UserError(f"{path} is not the configuration of a run")
    return config


def _differences(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key in one.keys() | other.keys():
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}")
    return found
