"""Weights to take away: a folder with the weights, a description of the network, and its card."""

import importlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smoothmix.utils.errors import UserError
from smoothmix.utils.files import is_small, read_object, replacing, write_text
from smoothmix.utils.records import is_count, is_number, wrong_key
from smoothmix.utils.weights import in_precision_of, limited, load_model, read_weights

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def _is_of_channels(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(is_number, value))


RULES: dict[str, Callable[[Any], bool]] = {
    "num_classes": lambda value: is_count(value) and 0 < value < 10**6,
    "class_names": lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
    "image_size": lambda value: is_count(value) and 0 < value <= 4096,
    "resize": lambda value: is_count(value) and 0 < value <= 8192,
    "mean": _is_of_channels,
    "std": lambda value: _is_of_channels(value) and min(value) > 0,
}


def save_pretrained(model: nn.Module, description: Mapping[str, Any], folder: Path, half: bool = False) -> None:
    """Write `model` to `folder`, which exists, so that :func:`load_pretrained` reads it.

    Args:
        model: the network.
        description: what config.json is to say: "model" (name, `_target_` and arguments), "num_classes", and whatever
            its users have to know.
        folder: for model.safetensors and config.json.
        half: store floating numbers as float16.

    Raises:
        UserError: the file system refuses, or safetensors is not installed.
    """
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise UserError("weights are written by safetensors; run `pip install safetensors`") from error
    weights = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        weights = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    with replacing(folder / WEIGHTS, "wb") as file:
        file.write(save(weights, {"format": "pt"}))
    described = {**description, "dtype": "float16" if half else "float32"}
    write_text(folder / CONFIG, json.dumps(described, indent=2) + "\n")


def load_pretrained(folder: str | Path) -> nn.Module:
    """Return the network that scripts/export.py wrote to `folder`: on the CPU, in float32, in evaluation mode.

    Its attribute `description` is what config.json says: image size, mean and std of the images, names of the classes.
    ``network.preprocess(image)`` and ``network.predict(image)`` are :func:`preprocess` and :func:`predict`.

    Raises:
        UserError: the networks of the repository cannot be imported, or the folder holds something else, or is damaged.
    """
    _check_networks()
    from smoothmix.config import build, schema

    folder = Path(folder).expanduser()
    description = _read_description(folder / CONFIG)
    weights, _ = read_weights(folder / WEIGHTS)
    try:
        component = schema.check_component("model", description.get("model"))
        with torch.random.fork_rng(devices=[]), limited(weights, folder / CONFIG):
            model = build.call("model", component, num_classes=description["num_classes"])
    except UserError as error:
        raise UserError(f"{folder / CONFIG} describes no network: {error}") from error
    if not isinstance(model, nn.Module):
        raise UserError(f"{folder / CONFIG} describes no network: {component.target} does not return an nn.Module")
    load_model(model, in_precision_of(model, weights), folder / WEIGHTS)
    model.description = description  # type: ignore[assignment]
    model.preprocess = partial(preprocess, description)  # type: ignore[assignment]
    model.predict = partial(predict, model)  # type: ignore[assignment]
    return model.eval()


def preprocess(description: Mapping[str, Any], image: Any) -> torch.Tensor:
    """Return what a network of this `description` takes for an image, (1, 3, S, S): resized, cropped, normalised.

    Args:
        description: as :func:`load_pretrained` returns it.
        image: a PIL image of any mode and size, or the path of one.

    Raises:
        UserError: it has more than 8 bits per channel, or is a strip.
        OSError: the file cannot be read.
    """
    import numpy as np
    from PIL import Image

    from smoothmix.utils.pictures import FORMATS, center_crop, to_rgb

    opened = image if isinstance(image, Image.Image) else Image.open(image, formats=FORMATS)
    square = center_crop(to_rgb(opened), description["image_size"], description["resize"])
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(description[key]).view(3, 1, 1) for key in ("mean", "std"))
    return ((pixels - mean) / std)[None]


def predict(network: nn.Module, image: Any) -> dict[str, float]:
    """Return {class: probability} of an image, the most probable class first; raises as :func:`preprocess`."""
    inputs = network.preprocess(image).to(next(network.parameters()).device)  # type: ignore[operator]
    with torch.inference_mode():
        probabilities = network(inputs)[0].float().softmax(0).cpu()
    names: Any = network.description["class_names"]  # type: ignore[index]
    return {names[index]: probabilities[index].item() for index in probabilities.argsort(descending=True).tolist()}


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = read_object(path)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); give a folder that scripts/export.py wrote") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); export the network again") from error
    description.setdefault("resize", description.get("image_size"))
    names: Any = description.get("class_names")
    flaw = wrong_key(description, RULES) or ("class_names" if len(names) != description["num_classes"] else None)
    if flaw or not is_small(description.get("model")):
        raise UserError(f"{path} describes no network: its {flaw or 'model'} is missing or wrong; export it again")
    if isinstance(description.get("model"), dict):
        description["model"].pop("pretrained", None)  # nothing is fetched: the weights are here
    return description


def _check_networks() -> None:
    """Raise UserError unless `models` is that of this repository: only `smoothmix` is ever installed."""
    try:
        found = hasattr(importlib.import_module("models"), "timm_model")
    except ImportError:
        found = False
    if not found:
        raise UserError(
            "the networks are in the repository, not in the installed package: put a clone of it first on sys.path, or "
            "give the clone to torch.hub.load(CLONE, 'pretrained', FOLDER, source='local')"
        )
