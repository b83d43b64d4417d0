"""What a corruption is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Generator, Tensor

SEVERITIES = (1, 2, 3, 4, 5)

Draws = tuple[Tensor, ...]


def no_draws(images: Tensor, setting: Any, generator: Generator | None) -> Draws:
    """Sample nothing: for the corruptions that are functions of the image alone."""
    return ()


@dataclass(frozen=True)
class Corruption:
    """One corruption: its category, its constants, and its two halves.

    `cifar` and `imagenet` hold the settings of severities 1 to 5. `sample(images, setting, generator)` draws the random
    numbers of a batch on the images' device, each tensor with the batch as its first dimension;
    `apply(images, setting, draws)` is a pure function. Images are uint8 (N, 3, S, S), in and out.
    """

    category: str
    cifar: tuple[Any, ...]
    imagenet: tuple[Any, ...]
    apply: Callable[[Tensor, Any, Draws], Tensor]
    sample: Callable[[Tensor, Any, Generator | None], Draws] = no_draws
