"""Any network of timm, by name."""

import difflib
import inspect
import re
from typing import Any

import torch
from torch import nn

from smoothmix.errors import UserError

# These options of timm.create_model choose the file that weights are read from. Weights come from timm's own list
# (`pretrained=True`) or from a run of this repository, never from a place that a config names.
_WEIGHT_SOURCES = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def timm_model(name: str, num_classes: int, pretrained: bool = False, **options: Any) -> nn.Module:
    """Build a network of timm with a linear head of `num_classes` logits, from scratch unless `pretrained`.

    Args:
        name: a name of `timm.list_models()`, e.g. "resnet50", with or without a weight tag ("resnet50.a1_in1k").
        num_classes: number of classes, at least 1.
        pretrained: start from the weights that timm publishes under this name.
        options: given to the network's own constructor, e.g. `zero_init_last=False` or `drop_path_rate=0.1`.

    Raises:
        UserError: on a name that timm does not know or that points to a hub or a folder, on an option that the
            network does not know or that names a file to read weights from, on `num_classes` below 1.
    """
    import timm  # here, because it takes seconds and most networks of this package do without

    if any(character in name for character in ":/\\"):
        raise UserError(
            f"The model name {name!r} points to a hub or a folder, and weights from there are not loaded; "
            "give a plain name of timm.list_models(), such as resnet50."
        )
    for option in _WEIGHT_SOURCES:
        if option in options:
            raise UserError(
                f"The model option {option!r} chooses where weights are read from, which is not allowed here; "
                "leave it out (pretrained=true starts from the weights that timm publishes)."
            )
    if num_classes < 1:
        raise UserError(f"num_classes is {num_classes}; give the number of classes, at least 1.")
    _check_name(name)

    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=num_classes, **options)
    except TypeError as error:
        # Python's own words, and those of the networks that look through their **kwargs themselves
        unknown = re.search(r"unexpected keyword argument(?:\(s\):)? \[?'(\w+)'", str(error))
        if unknown is None or unknown[1] not in options:
            raise
        raise UserError(
            f"The timm model {name!r} has no option {unknown[1]!r}{_nearest(unknown[1], _options_of(name))}."
        ) from error


def _check_name(name: str) -> None:
    """Accept what timm can build: an architecture, alone or with one of its weight tags."""
    import timm

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        raise UserError(f"timm has no model {name!r}{_nearest(name, timm.list_models())}.")
    tagged = timm.list_models(architecture, include_tags=True)
    if name != architecture and name not in tagged:
        raise UserError(f"timm has no weights {name!r}{_nearest(name, tagged)}.")


def _options_of(name: str) -> list[str]:
    """Names of the arguments of the network's constructor."""
    import timm

    with torch.device("meta"):  # no memory, no time: only its class is wanted
        return list(inspect.signature(type(timm.create_model(name))).parameters)


def _nearest(word: str, known: list[str]) -> str:
    matches = difflib.get_close_matches(word, known, n=3)
    return f"; the nearest: {', '.join(matches)}" if matches else ""
