"""Which images of a training set are used: held out, or a balanced subset."""

import torch
from torch import Tensor

from smoothmix.utils.errors import UserError
from smoothmix.utils.seeding import derive_seed


def hold_out(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Split image indices into (kept, held out), `count` of them held out, in proportion to the classes' sizes.

    The split is fixed: it depends on nothing but the labels and `count`. Both parts are sorted.

    Raises:
        UserError: `count` is negative or leaves no image.
    """
    n = len(labels)
    if not 0 <= count < n:
        raise UserError(f"val_split={count} is out of range: choose 0 to {n - 1} of the {n} training images")
    by_class, positions = _shuffled_by_class(labels, "hold out")
    # Where each image stands in its class, as a fraction: the first `count` by that number are a fair share of each.
    fractions = (positions + 0.5).double() / labels.bincount()[labels[by_class]]
    chosen = by_class[fractions.argsort(stable=True)]
    return chosen[count:].sort().values, chosen[:count].sort().values


def balanced_subset(labels: Tensor, per_class: int) -> Tensor:
    """Return the sorted indices of a fixed subset: `per_class` images of each class in `labels` (n,).

    It depends on nothing but the arguments, and the subset of a smaller `per_class` lies in that of a larger one.

    Raises:
        UserError: `per_class` is below 1, or a class has fewer images.
    """
    least = int(labels.bincount()[labels.unique()].min())
    if not 1 <= per_class <= least:
        raise UserError(f"dataset.per_class={per_class} is out of range: choose 1 to {least} images of each class")
    by_class, positions = _shuffled_by_class(labels, "balanced subset")
    return by_class[positions < per_class].sort().values


def _shuffled_by_class(labels: Tensor, stream: str) -> tuple[Tensor, Tensor]:
    """Return image indices sorted by class, in a fixed random order within each, and each one's position there."""
    generator = torch.Generator().manual_seed(derive_seed(stream))
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    sizes = labels.bincount()
    starts = sizes.cumsum(0) - sizes
    return by_class, torch.arange(len(labels)) - starts[labels[by_class]]


def check_split(split: str, sizes: dict[str, int]) -> None:
    """Raise ValueError unless `split` is a key of `sizes`."""
    if split not in sizes:
        raise ValueError(f"there is no split {split!r}; this data set has {', '.join(sizes)}")
