"""What trainer and evaluation expect of a data set: the data sets of this repository and your own have these members.

A batch is images (n, 3, S, S), float32, normalised, and labels (n,), int64, both on the device of the ranks. No random
state is kept anywhere: what happens to an image follows from (seed, epoch, index).
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError

Batch = tuple[Tensor, Tensor]


class Batches(Protocol):
    """The batches of this rank, which can be iterated again and again."""

    @property
    def pieces(self) -> Sequence[Sequence[int]]:
        """The indices in the whole split of the images of each batch."""

    def __iter__(self) -> Iterator[Batch]: ...


class TrainBatches(Protocol):
    """The augmented training batches of one rank; ``len`` is the number of steps in an epoch.

    They are made in two parts, so that a CUDA graph can hold the second: `inputs` yields tensors on the device, and
    `prepare` makes a batch of one such tuple there, without the host reading anything.

    With three views per image (AugMix) a batch is images (3n, 3, S, S): n clean ones (cropped and flipped only), then
    their first and their second blends, and labels (3n,), the same n three times.
    """

    def __len__(self) -> int: ...

    def inputs(self, epoch: int, start_step: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """Yield what :meth:`prepare` makes the batches of, from `start_step` on: tensors (n, ...) on the device."""

    def prepare(self, *inputs: Tensor) -> Batch:
        """Make a batch of what :meth:`inputs` yielded."""


class ImageDataset(Protocol):
    """Images in splits.

    Attributes:
        num_classes: number of classes.
        class_names: name of each label.
        image_size: S, side of an image in pixels.
        fingerprint: short hash of what identifies the data: the pixels, or the names and sizes of all files.
        sizes: images in each split, ``{"train": 50000, "test": 10000}``; "val" too where images are held out.
        mean, std: the normalisation, of each channel, for values in [0, 1].
        fine_test_labels: int64, of the finest kind there is, of the test images: files of corrupted images hold these.
        views: images that training makes of one: 1, or 3 with AugMix. Batch sizes and `sizes` count one.
        workers: processes that read or augment images; 0 where the training process does.
    """

    num_classes: int
    class_names: list[str]
    image_size: int
    fingerprint: str
    sizes: dict[str, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fine_test_labels: Tensor
    views: int
    workers: int

    def train_batches(self, batch_size: int, seed: int, ranks: Ranks = ...) -> TrainBatches:
        """Return this rank's training batches; `batch_size` is that of all ranks together."""

    def eval_batches(self, split: str, batch_size: int, ranks: Ranks = ...) -> Batches:
        """Return the images rank, rank + world_size, ... of `split`; `batch_size` is that of all ranks together."""

    def image_batches(self, split: str, pieces: list[range], device: torch.device = ...) -> Batches:
        """Return a batch of each piece of image indices: uint8 (n, 3, S, S), neither augmented nor normalised."""


def other_images(trained: str, then: str, now: str) -> UserError:
    """Return the error for a run (`trained` says which) whose data set had another fingerprint."""
    return UserError(
        f"{trained} on other images (fingerprint {then}, now {now}); give this data set another dataset.name or output "
        "(a fingerprint of class folders did not cover the sizes of files at first, and a run from then differs on the "
        "same images too: finish it with the version that began it)"
    )
