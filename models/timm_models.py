"""Any network of timm, by name."""

import difflib
import inspect
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.regularisers import check_at_most_one, check_keep_probs, check_rate
from models.resnet_dropblock import add_drop_block
from smoothmix.utils.errors import UserError
from smoothmix.utils.weights import in_precision_of, load_model, read_weights

# These options of timm.create_model choose a file that timm reads by itself. Weights come from timm's own list
# (`pretrained=True`), or from a file that is read without running anyone's code (`weights`).
_WEIGHT_SOURCES = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def timm_model(
    name: str,
    num_classes: int,
    pretrained: bool = False,
    weights: str | None = None,
    drop_block_keep: list[float] | None = None,
    drop_block_size: int = 7,
    drop_block_schedule: str = "constant",
    **options: Any,
) -> nn.Module:
    """Build a network of timm with a linear head of `num_classes` logits, from scratch unless `pretrained`.

    Args:
        name: a name of `timm.list_models()`, e.g. "resnet50", with or without a weight tag ("resnet50.a1_in1k").
        num_classes: number of classes, at least 1.
        pretrained: start from the weights that timm publishes under this name.
        weights: start from the weights in this file instead, as :func:`smoothmix.utils.weights.read_weights` takes it;
            a head of other classes is left out.
        drop_block_keep: DropBlock in a ResNet of basic or bottleneck blocks, after each convolution and on the skip
            connections: the keep probability of each of the 4 stages, 1.0 for a stage without.
        drop_block_size: side of its blocks, in pixels of the feature map.
        drop_block_schedule: "constant", or "linear": from 1 down to the keep probability as the training goes on.
        options: given to the network's own constructor, e.g. `zero_init_last=False` or `drop_path_rate=0.1`
            (stochastic depth; in timm's ResNets the rates grow linearly from 0 at the first block to this at the last).

    Raises:
        UserError: on a name that timm does not know or that points to a hub or a folder, on a file of weights that
            cannot be used, on an option that the network does not know or that makes timm read a file, on `num_classes`
            below 1.
        ValueError: on a regulariser's value out of range, on two regularisers, on DropBlock in a network that is not
            such a ResNet.
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
    drop_block_on = _check_regularisers(drop_block_keep, options)

    pretrained = pretrained and weights is None
    if pretrained:
        _notice_a_missing_network()
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=num_classes, **options)
    except TypeError as error:
        # Python's own words, and those of the networks that look through their **kwargs themselves
        unknown = re.search(r"unexpected keyword argument(?:\(s\):)? \[?'(\w+)'", str(error))
        if unknown is None or unknown[1] not in options:
            raise
        raise UserError(
            f"The timm model {name!r} has no option {unknown[1]!r}{_nearest(unknown[1], _options_of(name))}."
        ) from error
    if weights is not None:
        _start_from(network, Path(weights).expanduser())
    if drop_block_keep is not None and drop_block_on:
        add_drop_block(network, name, drop_block_keep, drop_block_size, drop_block_schedule)
    return network


def _start_from(network: nn.Module, path: Path) -> None:
    """Copy the weights in a file into `network`, but those of a head of another shape."""
    weights, _ = read_weights(path)
    heads = network.pretrained_cfg["classifier"]
    heads = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
    own = network.state_dict()
    kept = {name: tensor for name, tensor in own.items() if name.startswith(heads)}
    kept = {name: own for name, own in kept.items() if name not in weights or weights[name].shape != own.shape}
    load_model(network, in_precision_of(network, weights | kept), path)


def _notice_a_missing_network() -> None:
    """Tell the library that fetches weights if there is no network: it would try five times, 40 s each."""
    from huggingface_hub import constants

    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError:
        pass  # it answers
    except OSError:
        constants.HF_HUB_OFFLINE = True  # what was fetched before is used


def _check_regularisers(drop_block_keep: list[float] | None, options: dict[str, Any]) -> bool:
    """Check the values that switch a regulariser on, before the network is built; True if DropBlock is on."""
    if options.get("drop_block_rate"):
        raise ValueError(
            f"drop_block_rate={options['drop_block_rate']} is timm's own DropBlock, which drops far more than it says "
            "on small maps (94 % of a 7x7 map at a rate of 0.1); use drop_block_keep=[1.0, 1.0, 0.9, 0.9] instead."
        )
    check_rate("drop_path_rate", options.get("drop_path_rate", 0.0))
    if drop_block_keep is None:
        return False
    check_keep_probs(drop_block_keep, num_stages=4)
    drop_block_on = min(drop_block_keep) < 1
    if drop_block_on and options.get("drop_path_rate"):
        check_at_most_one([f"drop_path_rate={options['drop_path_rate']}", f"drop_block_keep={drop_block_keep}"])
    return drop_block_on


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
