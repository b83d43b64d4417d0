"""What acts on the residual branch of each block: stochastic depth, DropBlock, ShakeDrop, or nothing."""

from collections.abc import Callable, Sequence

from torch import nn

from models.dropblock import DropBlock
from models.shakedrop import ShakeDrop

# (index of the block, counted from 1; number of blocks) -> the module applied to that block's residual branch
RegulariserFactory = Callable[[int, int], nn.Module]


def choose_regulariser(
    drop_path_rate: float,
    drop_block_keep: Sequence[float] | None,
    drop_block_size: int,
    drop_block_schedule: str,
    shake_drop: float,
) -> RegulariserFactory | None:
    """Return the regulariser that is switched on, or None; the arguments are those of `models.PyramidNet`.

    Stochastic depth (Huang et al., ECCV 2016) takes the branch of block l of L from an image with probability
    l/L * drop_path_rate and divides a branch that stays by its probability to stay, so that evaluation is the identity.
    ShakeDrop disturbs it with probability l/L * shake_drop. DropBlock has the keep probability of the block's stage.

    Raises:
        ValueError: a value is out of range, or two regularisers are on.
    """
    on: dict[str, RegulariserFactory] = {}
    if drop_path_rate != 0:
        check_rate("drop_path_rate", drop_path_rate)
        from torchvision.ops import StochasticDepth  # here, because most networks do without torchvision

        on[f"drop_path_rate={drop_path_rate}"] = lambda block, num_blocks: StochasticDepth(
            drop_path_rate * block / num_blocks, mode="row"
        )
    if drop_block_keep is not None:
        check_keep_probs(drop_block_keep, num_stages=3)
        if min(drop_block_keep) < 1:
            on[f"drop_block_keep={drop_block_keep}"] = drop_block(drop_block_keep, drop_block_size, drop_block_schedule)
    if shake_drop != 0:
        check_rate("shake_drop", shake_drop)
        on[f"shake_drop={shake_drop}"] = lambda block, num_blocks: ShakeDrop(shake_drop * block / num_blocks)
    check_at_most_one(list(on))
    return next(iter(on.values()), None)


def drop_block(keep_probs: Sequence[float], block_size: int, schedule: str) -> RegulariserFactory:
    """DropBlock in every block, with the keep probability of the block's stage."""

    def make(block: int, num_blocks: int) -> nn.Module:
        keep_prob = keep_probs[(block - 1) * len(keep_probs) // num_blocks]
        return DropBlock(keep_prob, block_size, schedule) if keep_prob < 1 else nn.Identity()

    return make


def check_rate(name: str, rate: float) -> None:
    """Raise ValueError unless `rate` is a probability below 1."""
    if type(rate) not in (int, float) or not 0 <= rate < 1:
        raise ValueError(f"{name} is {rate!r}; give a number of at least 0 (off) and below 1, such as 0.25.")


def check_keep_probs(keep_probs: Sequence[float], num_stages: int) -> None:
    """Raise ValueError unless there is one keep probability a stage."""
    numbers = isinstance(keep_probs, list | tuple) and all(type(prob) in (int, float) for prob in keep_probs)
    if not numbers or len(keep_probs) != num_stages or not all(0 < prob <= 1 for prob in keep_probs):
        example = [1.0] * (num_stages - 2) + [0.9] * 2
        raise ValueError(
            f"drop_block_keep is {keep_probs!r}; give the keep probability of each of the {num_stages} stages, above 0 "
            f"and at most 1, such as {example}."
        )


def check_at_most_one(on: list[str]) -> None:
    """Raise ValueError if more than one regulariser is on; `on` holds the settings that switch them on."""
    if len(on) > 1:
        raise ValueError(f"{' and '.join(on)} are both regularisers of the residual branch; leave all but one out.")
