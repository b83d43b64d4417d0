"""Weights from files: read without running anyone's code, and checked against the network that they are for."""

import os
import pickle
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smoothmix.utils.errors import UserError


def read(path: Path, admitted: Sequence[Callable[..., Any] | tuple[Callable[..., Any], str]] = ()) -> Any:
    """Return what `torch.save` wrote, on the CPU.

    Args:
        path: the file.
        admitted: what else than tensors and plain values may be in it, as `torch.serialization.safe_globals` takes it.

    Raises:
        UserError: missing, truncated, or holding anything else.
    """
    if not os.path.isfile(path):
        raise UserError(f"there is no checkpoint {path}")
    try:
        # the warnings are about foreign pickles, which are refused below
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(list(admitted)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} is not a checkpoint of tensors and plain values only, so it was not loaded") from error
    except Exception as error:  # damaged bytes make torch raise nearly anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is truncated or damaged ({reason}); move it away or restore a copy") from error


def load_model(model: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Copy `weights` into `model`; `path` is where they came from, for the message.

    Raises:
        UserError: the checkpoint belongs to another architecture, or a weight is not finite.
    """
    own = {name: _kind(tensor) for name, tensor in model.state_dict().items()}
    found = {name: _kind(tensor) for name, tensor in weights.items()}
    if own != found:
        name = min((key for key in own.keys() | found.keys() if own.get(key) != found.get(key)), key=str)
        raise UserError(
            f"{path} holds another architecture: {name} is {found.get(name, 'missing')} there and "
            f"{own.get(name, 'missing')} in this model"
        )
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{path} holds a weight that is not finite (in {name}), so its results would mean nothing")
    model.load_state_dict(weights)


def _kind(value: Any) -> str:
    """Return the type and shape of a weight, in words."""
    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}"
    if value.layout != torch.strided or value.is_meta or value.is_quantized:
        return "a tensor without plain values"
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
