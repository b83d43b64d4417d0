"""Which images are used, and in which order: splits, subsets, and the batches of each rank, by seed and epoch."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from datasets.augment import Normalized
from smoothmix.utils.data import Batch
from smoothmix.utils.distributed import ONE_RANK, Ranks
from smoothmix.utils.errors import UserError
from smoothmix.utils.numerics import derive_seed


def epoch_order(n: int, seed: int, epoch: int) -> list[int]:
    """Return the order in which an epoch visits `n` images: a permutation that is the same on every rank."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(n, generator=generator).tolist()


def rank_pieces(n: int, batch_size: int, ranks: Ranks) -> list[slice]:
    """Return, for every step of an epoch over `n` images, the slice of the epoch's order that this rank takes.

    `batch_size` is global: rank r takes the r-th contiguous piece of each global batch, so that runs on different world
    sizes see the same global batches. The last, partial batch is trimmed to a multiple of `world_size`, and dropped
    when nothing is left of it.

    Raises:
        ValueError: the ranks cannot share `batch_size` evenly.
    """
    rank, world_size = ranks.rank, ranks.world_size
    if batch_size < 1 or batch_size % world_size:
        raise ValueError(f"a global batch of {batch_size} cannot be shared evenly by {world_size} ranks")
    pieces = []
    for start in range(0, n, batch_size):
        size = min(batch_size, n - start) // world_size
        if size:
            pieces.append(slice(start + rank * size, start + (rank + 1) * size))
    return pieces


def eval_pieces(n: int, batch_size: int, ranks: Ranks) -> list[range]:
    """Return the batches in which this rank evaluates its images rank, rank + world_size, ... of `n`.

    Nothing is padded: over all ranks every image comes exactly once. A per-rank batch is the global `batch_size`
    divided by the number of ranks, rounded up.
    """
    _check_size(batch_size)
    mine = range(ranks.rank, n, ranks.world_size)
    size = -(-batch_size // ranks.world_size)
    return [mine[start : start + size] for start in range(0, len(mine), size)]


def whole_batches(n: int, batch_size: int, ranks: Ranks) -> list[range]:
    """Return the batches of this rank where the k-th contiguous batch of `n` images goes to rank k % world_size.

    Nothing is padded: over all ranks every image comes exactly once. `batch_size` is that of each batch.
    """
    _check_size(batch_size)
    starts = range(ranks.rank * batch_size, n, ranks.world_size * batch_size)
    return [range(start, min(start + batch_size, n)) for start in starts]


def _check_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"a batch of {batch_size} images is empty")


def remaining(pieces: list, start_step: int) -> list:
    """Return the steps of an epoch from `start_step` on; raise ValueError when the epoch has no such step."""
    if not 0 <= start_step <= len(pieces):
        raise ValueError(f"start_step={start_step} lies outside an epoch of {len(pieces)} steps")
    return pieces[start_step:]


class EpochSampler:
    """The batches of (epoch, index) of the epoch that was started last."""

    def __init__(self, n: int, pieces: list[slice], seed: int):
        self.n, self.pieces, self.seed = n, pieces, seed
        self.epoch, self.steps = 0, pieces

    def start(self, epoch: int, start_step: int) -> None:
        """Let the next iteration begin at step `start_step` of `epoch`."""
        self.epoch, self.steps = epoch, remaining(self.pieces, start_step)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = epoch_order(self.n, self.seed, self.epoch)
        for piece in self.steps:
            yield [(self.epoch, index) for index in order[piece]]


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


def balanced_subset(labels: Tensor, per_class: int, *draw: int) -> Tensor:
    """Return the sorted indices of a subset: `per_class` images of each class in `labels` (n,).

    It depends on nothing but the arguments, and the subset of a smaller `per_class` lies in that of a larger one with
    the same `draw`.

    Raises:
        UserError: `per_class` is below 1, or a class has fewer images.
    """
    least = int(labels.bincount()[labels.unique()].min())
    if not 1 <= per_class <= least:
        raise UserError(f"dataset.per_class={per_class} is out of range: choose 1 to {least} images of each class")
    by_class, positions = _shuffled_by_class(labels, "balanced subset", *draw)
    return by_class[positions < per_class].sort().values


def _shuffled_by_class(labels: Tensor, *stream: str | int) -> tuple[Tensor, Tensor]:
    """Return image indices sorted by class, shuffled within each by `stream`, and each one's position in its class."""
    generator = torch.Generator().manual_seed(derive_seed(*stream))
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    sizes = labels.bincount()
    starts = sizes.cumsum(0) - sizes
    return by_class, torch.arange(len(labels)) - starts[labels[by_class]]


def check_split(split: str, sizes: dict[str, int]) -> None:
    """Raise ValueError unless `split` is a key of `sizes`."""
    if split not in sizes:
        raise ValueError(f"there is no split {split!r}; this data set has {', '.join(sizes)}")


class Repeatable:
    """Batches that can be read again and again: (images uint8 (n, 3, S, S), labels int64 (n,)) from `read`.

    `pieces` are the indices of the images in each.
    """

    def __init__(self, pieces: Sequence[Sequence[int]], read: Callable[[], Iterator[Batch]]):
        self.pieces, self.read = pieces, read

    def __iter__(self) -> Iterator[Batch]:
        return self.read()


def check_workers(workers: int) -> None:
    """Raise UserError for a negative number of workers."""
    if workers < 0:
        raise UserError(f"workers={workers} is negative: 0 reads images in the training process itself")


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
