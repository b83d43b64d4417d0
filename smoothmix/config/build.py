"""From a checked configuration to the parts of a run."""

from typing import Any

import torch
from torch import nn

from smoothmix.config import schema
from smoothmix.config.schema import Component, RunConfig
from smoothmix.utils.data import ImageDataset
from smoothmix.utils.errors import UserError
from smoothmix.utils.numerics import derive_seed


def dataset(config: RunConfig) -> ImageDataset:
    """Return the data set of the configuration."""
    built: ImageDataset = call("dataset", config.dataset, seed=config.seed)
    return built


def model(config: RunConfig, num_classes: int, image_size: int) -> nn.Module:
    """Return the network, initialised from the run's seed and tried on one image; torch's generator is put back."""
    name = config.model.name
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "init"))
        built = call("model", config.model, num_classes=num_classes)
        if not isinstance(built, nn.Module):
            raise UserError(f"model._target_={config.model.target} does not return an nn.Module")
        built.eval()
        try:
            with torch.no_grad():
                logits = built(torch.zeros(1, 3, image_size, image_size))
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            raise UserError(f"model={name} cannot take {image_size}x{image_size} images: {_line(error)}") from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (1, num_classes):
        raise UserError(f"model={name} does not return {num_classes} logits per image")
    return built.train()


def mixing(
    config: RunConfig, num_classes: int, generator: torch.Generator | None = None, network: nn.Module | None = None
) -> Any:
    """Return the mixing strategy: (images, labels) -> (images, targets), drawing from `generator` if it can.

    One that acts on hidden layers too has a method `attach`, which is given the `network`.
    """
    built = call("mixing", config.mixing, num_classes=num_classes, generator=generator)
    if not callable(built):
        raise UserError(f"mixing._target_={config.mixing.target} does not return a callable")
    if network is not None and hasattr(built, "attach"):
        try:
            built.attach(network)
        except ValueError as error:
            raise UserError(f"mixing={config.mixing.name}: {error}") from error
    return built


def call(group: str, component: Component, **supplied: Any) -> Any:
    """Return what a group's `_target_` makes of its arguments and of those of the `supplied` ones that it has.

    Raises:
        UserError: it cannot make anything of them.
    """
    parameters = component.parameters
    supplied = {key: value for key, value in supplied.items() if key in parameters}
    try:
        return component.factory(**schema.arguments(group, component), **supplied)
    except UserError:
        raise
    except Exception as error:
        if component.options.get("pretrained"):  # whatever the libraries below say of the network or the disk
            raise UserError(
                f"{group}={component.name}: cannot load the pretrained weights ({_line(error).partition('. ')[0]}); "
                f"they are downloaded on first use, so run with internet access once, or leave out {group}.pretrained"
            ) from error
        if isinstance(error, ValueError | TypeError | AssertionError | RuntimeError):
            raise UserError(f"{group}={component.name}: {_line(error)}") from error
        raise


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
