"""Which images each step of an epoch takes, on each rank: pure functions of (seed, epoch, rank, world size)."""

import torch

from smoothmix.utils.distributed import Ranks
from smoothmix.utils.seeding import derive_seed


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
