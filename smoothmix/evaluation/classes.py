"""Which output of a network is which class of a data set: compared by name, for a label is only a number."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from smoothmix.utils.errors import UserError

CONVENTIONS = ("subset", "all")
LISTED = 20  # names, at most: of more, a record has the digest


def outputs_for(data: Sequence[str], network: Sequence[str], classes: str) -> list[int] | None:
    """Return the outputs of a network to evaluate on a data set, None for all of them as they are.

    The first are those of the data set's classes, in its order. With a `classes` of "all" the others follow, so that
    they can be predicted too; with "subset" they are left out.

    Args:
        data: names of the data set's classes, by label.
        network: those of the network's, by output.
        classes: one of `CONVENTIONS`; it matters only where the data set has a part of the network's classes.

    Raises:
        UserError: the network does not know a class of the data set.
    """
    imagenet = all(re.fullmatch(r"n\d{8}", name) for name in network) and list(network) == sorted(network)
    numbered = list(data) == [str(number) for number in range(1000)]  # as ImageNet-V2's folders are
    if list(data) == list(network) or (numbered and imagenet and len(network) == 1000):
        return None
    output_of = {name: output for output, name in enumerate(network)}
    if unknown := [name for name in data if name not in output_of]:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        others = [name for name in network if name not in set(data)]
        raise UserError(
            f"the data set has {len(data)} classes and the network tells {len(network)} others: "
            f"{', '.join(map(repr, unknown[:3]))}{more} are unknown to it (its own are "
            f"{', '.join(map(repr, others[:3])) or 'all in the data set'}{', ...' if len(others) > 3 else ''}); give "
            "dataset.root= with its classes, or train a network on these"
        )
    own = [output_of[name] for name in data]
    return own + sorted({*range(len(network))} - {*own}) if classes == "all" else own


class Outputs(nn.Module):
    """A `network` of whose logits only the `outputs` are returned, in that order."""

    outputs: Tensor

    def __init__(self, network: nn.Module, outputs: list[int]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("outputs", torch.tensor(outputs), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, len(outputs))."""
        logits: Tensor = self.network(images)[:, self.outputs]
        return logits


def class_facts(names: Sequence[str]) -> dict[str, Any]:
    """Return what a record says of a network's classes: their number, a digest of their names, and the names of few."""
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()[:8]
    listed = {"class_names": list(names)} if len(names) <= LISTED else {}
    return {"num_classes": len(names), "classes_digest": digest, **listed}
