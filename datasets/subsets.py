"""Which images are used: held out of training, a balanced subset of it, a part of the test set."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from datasets.augment import Normalized
from datasets.batches import eval_pieces
from smoothmix.utils.distributed import ONE_RANK, Ranks
from smoothmix.utils.errors import UserError
from smoothmix.utils.seeding import derive_seed


def hold_out(labels: Tensor, count: int, name: str = "val_split") -> tuple[Tensor, Tensor]:
    """Split image indices into (kept, held out), `count` of them held out, in proportion to the classes' sizes.

    The split is fixed: it depends on nothing but the labels and `count`. Both parts are sorted.

    Raises:
        UserError: `count` is negative or leaves no image.
    """
    n = len(labels)
    if not 0 <= count < n:
        raise UserError(f"{name}={count} is out of range: choose 0 to {n - 1} of the {n} images")
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


class TestSubset:
    """A data set with `count` images in its test split: always the same, in proportion to the classes' sizes.

    Attributes:
        index: which images of the whole test split they are, ascending.

    Raises:
        UserError: `count` is not between 1 and one less than the number of test images.
    """

    __test__ = False  # of pytest

    def __init__(self, data: Any, count: int):
        if count == 0:
            raise UserError("images=0 evaluates nothing; give a number of test images, or leave it out")
        self.data = data
        self.index = hold_out(data.fine_test_labels, count, "images")[1]
        self.sizes, self.image_size = {"test": count}, data.image_size

    def image_batches(self, split: str, pieces: list[range], device: str | torch.device = "cpu") -> Any:
        """Return the images whose places in `index` are in `pieces`, as the whole data set does."""
        return self.data.image_batches(split, self.rows(pieces), device)

    def eval_batches(self, split: str, batch_size: int, ranks: Ranks = ONE_RANK) -> Normalized:
        """Return this rank's normalised batches, as the whole data set does."""
        pieces = eval_pieces(self.sizes[split], batch_size, ranks)
        return Normalized(self.image_batches(split, pieces, ranks.device), self.data.mean, self.data.std)

    def rows(self, pieces: list[range]) -> list[Sequence[int]]:
        """Return the indices in the whole test split of each piece of the subset."""
        return [self.index[torch.tensor(piece)].tolist() for piece in pieces]
