"""Checkpoints: whole at any moment, the previous one kept, checked and read without running anyone's code."""

import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smoothmix.utils.errors import UserError
from smoothmix.utils.files import replacing

FORMAT = 1


def previous(path: Path) -> Path:
    """Return where the checkpoint goes that `save_atomically` replaces."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write `state` (tensors and plain Python values) to `path`, whole; the file before it goes on as `previous(path)`.

    Raises:
        UserError: the file system refuses; the file before it is still there.
    """
    with replacing(path, "wb", previous(path)) as file:
        try:
            torch.save({"format": FORMAT, **state}, file)
        except RuntimeError as error:  # torch's zip writer reports a full disk as one
            raise OSError(str(error).splitlines()[0]) from error


def drop_previous(directory: Path) -> None:
    """Remove the previous files of a run that has ended, which need as much room as the others."""
    for name in ("last.pt", "best.pt"):
        previous(directory / name).unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    """Return what `save_atomically` wrote, on the CPU. Only tensors and plain values are admitted (`weights_only`).

    Its checksums are those of the zip archive that torch.save makes, a CRC-32 of every member; torch.load skips them.

    Raises:
        UserError: missing, truncated, damaged, hostile, or not a checkpoint of this repository.
    """
    state = read(path)
    if member := _damaged_member(path):
        raise UserError(f"{path} is damaged (the checksum of {member} is another); move it away or restore a copy")
    parts = state if isinstance(state, dict) and state.get("format") == FORMAT else {}
    if not (isinstance(parts.get("model"), dict) and isinstance(parts.get("config"), dict)):
        raise UserError(f"{path} is not a checkpoint of this repository (format {FORMAT})")
    return parts


def _damaged_member(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except Exception as error:  # as torch, zipfile raises nearly anything on damaged bytes
        return f"all members ({error})"


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
