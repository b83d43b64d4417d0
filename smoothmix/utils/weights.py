"""Weights from files: read without running anyone's code, and checked against the network that they are for."""

import hashlib
import os
import pickle
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from smoothmix.utils.errors import UserError, unreadable
from smoothmix.utils.files import read_object

MORE_VALUES, MORE_TENSORS = 100_000_000, 10_000
KEYS = ("state_dict", "model", "net", "network", "model_state_dict", "model_ema", "state_dict_ema")
# torch.compile's, DataParallel's, what a wrapper calls its network (Lightning's), and MMPretrain's two
PREFIXES = (("_orig_mod.",), ("module.",), ("model.",), ("net.",), ("network.",), ("backbone.", "head."))


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
        raise UserError(
            f"{path} holds more than tensors and plain values, so it was not loaded; where you trust it, load it with "
            "torch.load(FILE, weights_only=False) and save its state_dict alone"
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # damaged bytes make torch raise nearly anything
        reason = str(error).splitlines()[0].partition(". ")[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is truncated or damaged ({reason}); move it away or restore a copy") from error


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], list[str] | None]:
    """Return the weights in a file of other code, on the CPU, and the names of its classes if it has them.

    The file is what `torch.save` wrote, or .safetensors, with config.json beside it if scripts/export.py wrote it. The
    weights may stand under one of `KEYS`, and all their names may begin with one of `PREFIXES`. Counters of batches,
    which PyTorch before 0.4.1 did not have, are zero.

    Raises:
        UserError: the file is missing or damaged, or holds anything else.
    """
    if path.suffix == ".safetensors":
        content: Any = _read_safetensors(path)
        names = _names_beside(path.with_name("config.json"))
    else:
        content = read(path, [Namespace, *_numpy_scalars()])
        names = class_names_in(content, path)
    for key in KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = isinstance(content, dict) and all(isinstance(value, torch.Tensor) for value in content.values())
    if not content or not tensors:
        raise UserError(f"{path} holds no weights: it should be a state dict, bare or under {' or '.join(KEYS)}")
    weights = {str(name): tensor for name, tensor in content.items()}
    while any(all(name.startswith(prefixes) for name in weights) for prefixes in PREFIXES):
        weights = {name.partition(".")[2]: tensor for name, tensor in weights.items()}
    for name in list(weights):
        if name.endswith("running_mean"):
            weights.setdefault(name.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return weights, names


def class_names_in(content: Any, path: Path) -> list[str] | None:
    """Return the `class_names` of a checkpoint or a description: output k is ``class_names[k]``. None if it has none.

    Raises:
        UserError: they are not distinct names.
    """
    names = content.get("class_names") if isinstance(content, dict) else None
    if names is None:
        return None
    texts = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    if not texts or texts != names or len({*texts}) < len(texts):
        raise UserError(f"{path} is damaged: its class_names are not a list of different names; restore a copy")
    return texts


def _names_beside(path: Path) -> list[str] | None:
    try:
        return class_names_in(read_object(path), path) if path.exists() else None
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read {path}, which describes the weights beside it ({error}); restore a copy"
        ) from error


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}")
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(f"{path} needs the package safetensors; run `pip install safetensors`") from error
    try:
        return load_file(path)
    except OSError as error:
        raise unreadable(path, error) from error
    except SafetensorError as error:
        raise UserError(f"{path} is truncated or damaged ({error}); restore a copy") from error


def _numpy_scalars() -> list[Any]:
    """Return what `read` must admit for a NumPy number, such as the best error, by the names of NumPy 1 and 2."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64")]
    return [*((scalar, name) for name in names), np.dtype, *kinds]


def tensors_digest(model: nn.Module) -> str:
    """Return sixteen hexadecimal digits that stand for the weights of a network that came from no file of one's own."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def in_precision_of(model: nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return `weights` with the floating types that `model` has: files often hold half precision."""
    own = {name: tensor.dtype for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    return {
        name: tensor.to(own[name]) if name in own and tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }


@contextmanager
def limited(weights: dict[str, torch.Tensor], path: Path) -> Iterator[None]:
    """Refuse to build a network that is far larger than its `weights`: a stranger's configuration may ask for any.

    Raises:
        UserError: the network has `MORE_VALUES` parameters more than the file, or `MORE_TENSORS`.
    """
    values = MORE_VALUES + sum(tensor.numel() for tensor in weights.values() if isinstance(tensor, torch.Tensor))
    tensors = MORE_TENSORS + len(weights)

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal values, tensors
        values -= 0 if parameter is None else parameter.numel()
        tensors -= 1
        if values < 0 or tensors < 0:
            raise UserError(f"{path} holds another architecture: the network of its configuration is far larger")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


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
            raise UserError(f"{path} holds a weight that is not finite (in {name}), so its results mean nothing")
    model.load_state_dict(weights)


def _kind(value: Any) -> str:
    """Return the type and shape of a weight, in words."""
    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}"
    if value.layout != torch.strided or value.is_meta or value.is_quantized:
        return "a tensor without plain values"
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
