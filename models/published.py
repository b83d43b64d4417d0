"""The checkpoints that the CutMix authors publish (github.com/clovaai/CutMix-PyTorch), in this repository's names."""

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from smoothmix.utils.errors import UserError
from smoothmix.utils.weights import read

# A NumPy number, such as the best error, by the module names of NumPy 1 and 2. Nothing else than tensors and plain
# values is admitted.
_SCALAR = np.float64(0).__reduce__()[0]
_NUMPY_SCALARS = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64")),
]
# Where the layers of a residual branch stand in our sequence; the gaps are its ReLUs.
_RESIDUAL = {"bn1": 0, "conv1": 1, "bn2": 2, "conv2": 4, "bn3": 5, "conv3": 7, "bn4": 8}
_OUTSIDE = {"conv1": "stem.0", "bn1": "stem.1", "bn_final": "norm", "fc": "fc"}


def load_published(path: Path) -> dict[str, Tensor]:
    """Return the weights in a checkpoint of the CutMix authors' code, on the CPU.

    PyramidNets for CIFAR, of any depth and either kind of block, get the names of :class:`models.PyramidNet`; ResNets
    for ImageNet have the names of torchvision and timm already.

    Args:
        path: a file that their train.py wrote, with the weights under "state_dict".

    Raises:
        UserError: the file is missing or damaged, or not such a checkpoint.
    """
    content = read(path, _NUMPY_SCALARS)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} is not a checkpoint of the CutMix authors' code: it has no weights under 'state_dict'")
    weights = {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
    if "bn_final.weight" in weights:
        weights = {_pyramidnet_name(name, path): tensor for name, tensor in weights.items()}
    elif "layer4.0.conv1.weight" not in weights:
        raise UserError(f"{path} holds neither a PyramidNet for CIFAR nor a ResNet for ImageNet of the CutMix authors")
    for name in list(weights):  # PyTorch before 0.4.1 did not count
        if name.endswith("running_mean"):
            weights.setdefault(name.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return weights


def _pyramidnet_name(name: str, path: Path) -> str:
    """Return our name of a weight of their PyramidNet."""
    inside = re.fullmatch(r"(layer[1-3]\.\d+)\.(\w+)\.(\w+)", name)
    layer, _, kind = name.rpartition(".")
    if inside and inside[2] in _RESIDUAL:
        return f"{inside[1]}.residual.{_RESIDUAL[inside[2]]}.{inside[3]}"
    if layer in _OUTSIDE:
        return f"{_OUTSIDE[layer]}.{kind}"
    raise UserError(f"{path} holds a weight {name!r}, which no PyramidNet for CIFAR of the CutMix authors has")
