"""Which images each step of an epoch takes, on each rank: pure functions of (seed, epoch, rank, world size)."""

import torch
from torch import Tensor

from smoothmix.utils.errors import UserError
from smoothmix.utils.seeding import derive_seed


def epoch_order(n: int, seed: int, epoch: int) -> list[int]:
    """Return the order in which an epoch visits `n` images: a permutation that is the same on every rank."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(n, generator=generator).tolist()


def rank_pieces(n: int, batch_size: int, rank: int, world_size: int) -> list[slice]:
    """Return, for every step of an epoch over `n` images, the slice of the epoch's order that `rank` takes.

    `batch_size` is global: rank r takes the r-th contiguous piece of each global batch, so that runs on different world
    sizes see the same global batches. The last, partial batch is trimmed to a multiple of `world_size`, and dropped
    when nothing is left of it.

    Raises:
        ValueError: the ranks cannot share `batch_size` evenly, or there is no such rank.
    """
    if batch_size < 1 or batch_size % world_size:
        raise ValueError(f"a global batch of {batch_size} cannot be shared evenly by {world_size} ranks")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} is not one of {world_size} ranks")
    pieces = []
    for start in range(0, n, batch_size):
        share = min(batch_size, n - start) // world_size
        if share:
            pieces.append(slice(start + rank * share, start + (rank + 1) * share))
    return pieces


def eval_pieces(n: int, batch_size: int, rank: int, world_size: int) -> list[range]:
    """Return the batches in which `rank` evaluates its images rank, rank + world_size, ... of `n`.

    Nothing is padded: over all ranks every image comes exactly once. Each rank's batches hold its share of the global
    `batch_size`, rounded up.
    """
    _check_share(batch_size, rank, world_size)
    mine = range(rank, n, world_size)
    share = -(-batch_size // world_size)
    return [mine[start : start + share] for start in range(0, len(mine), share)]


def whole_batches(n: int, batch_size: int, rank: int, world_size: int) -> list[range]:
    """Return the batches of `rank` where the k-th contiguous batch of `n` images goes to rank k % world_size.

    Nothing is padded: over all ranks every image comes exactly once. `batch_size` is that of each batch.
    """
    _check_share(batch_size, rank, world_size)
    images = range(n)
    return [images[start : start + batch_size] for start in images[rank * batch_size :: world_size * batch_size]]


def _check_share(batch_size: int, rank: int, world_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"a batch of {batch_size} images is empty")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} is not one of {world_size} ranks")


def remaining(pieces: list, start_step: int) -> list:
    """Return the steps of an epoch from `start_step` on; raise ValueError when the epoch has no such step."""
    if not 0 <= start_step <= len(pieces):
        raise ValueError(f"start_step={start_step} lies outside an epoch of {len(pieces)} steps")
    return pieces[start_step:]


def hold_out(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Split image indices into (kept, held out), `count` of them held out, in proportion to the classes' sizes.

    The split is fixed: it depends on nothing but the labels and `count`. Both parts are sorted.

    Raises:
        UserError: `count` is negative or leaves no image.
    """
    n = len(labels)
    if not 0 <= count < n:
        raise UserError(f"val_split={count} is out of range: choose 0 to {n - 1} of the {n} training images")
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(derive_seed("hold out")))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    sizes = labels.bincount()
    starts = sizes.cumsum(0) - sizes
    # Where each image stands in its class, as a fraction: the first `count` by that number are a fair share of each.
    label = labels[by_class]
    position = (torch.arange(n) - starts[label] + 0.5).double() / sizes[label]
    chosen = by_class[position.argsort(stable=True)]
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
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(derive_seed("balanced subset")))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    sizes = labels.bincount()
    starts = sizes.cumsum(0) - sizes
    place = torch.arange(len(labels)) - starts[labels[by_class]]
    return by_class[place < per_class].sort().values


def check_split(split: str, sizes: dict[str, int]) -> None:
    """Raise ValueError unless `split` is a key of `sizes`."""
    if split not in sizes:
        raise ValueError(f"there is no split {split!r}; this data set has {', '.join(sizes)}")
