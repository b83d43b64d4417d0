"""The checkpoints that the CutMix authors publish (github.com/clovaai/CutMix-PyTorch), in this repository's names."""

import re
from pathlib import Path

from torch import Tensor

from smoothmix.utils.errors import UserError
from smoothmix.utils.weights import read_weights

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
    weights, _ = read_weights(path)
    if "bn_final.weight" in weights:
        weights = {_pyramidnet_name(name, path): tensor for name, tensor in weights.items()}
    elif "layer4.0.conv1.weight" not in weights:
        raise UserError(f"{path} holds neither a PyramidNet for CIFAR nor a ResNet for ImageNet of the CutMix authors")
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
