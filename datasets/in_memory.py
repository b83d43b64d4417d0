"""A data set that is small enough to live on the device: CIFAR and the digits."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from datasets.augment import Normalized, crop_flip, draw_crop_flip, normalize, to_float
from datasets.image_augment import ImageAugment, image_augment
from datasets.loader import WorkerBatches
from datasets.sampling import (
    Repeatable,
    balanced_subset,
    check_split,
    check_workers,
    epoch_order,
    eval_pieces,
    hold_out,
    rank_pieces,
    remaining,
)
from smoothmix.utils.data import Batch
from smoothmix.utils.distributed import CPU, ONE_RANK, Ranks
from smoothmix.utils.errors import UserError
from smoothmix.utils.numerics import derive_seed


class InMemoryData:
    """Images in memory, copied once to each device that asks, and augmented there by random crop and flip.

    Each epoch's random numbers are drawn at once for all images from (seed, epoch), and looked up by image: they do not
    depend on the ranks, the batch size, or the step at which an epoch starts.

    AutoAugment and AugMix act on one image at a time, so with them worker processes crop, flip and augment the images
    on the CPU.

    Args:
        train: images, uint8 (N, S, S, 3) or (N, 3, S, S), and labels (N,) in 0..num_classes-1.
        test: the same.
        class_names: name of each label.
        mean: of each channel, for images in [0, 1].
        std: likewise.
        padding: zeros put around a training image before the random crop (before normalisation: black).
        flip: mirror half of the training images.
        val_split: how many training images to hold out as the split "val": fixed, and not augmented.
        augment: "none", "autoaugment" (the policy found on CIFAR-10) or "augmix" (severity 3), after crop and flip.
        workers: processes that augment, used only where `augment` is not "none"; 0 does it in the training process.
        per_class: train on a balanced subset: this many images of each class, chosen after `val_split`.
        subset: "fixed", the same images for every run, or "per_seed", drawn by `seed`; the fingerprint is then that of
            all images, so that runs of several seeds can be compared.
        seed: of the run; only a subset "per_seed" depends on it.
        fine_labels: of the training and test images, where the labels are superclasses: `per_class` counts these, and
            files of corrupted images hold them.

    Raises:
        UserError: an `augment` of another name, a negative number of workers, labels out of range, no image, or more
            images per class than there are.
    """

    def __init__(
        self,
        train: tuple[np.ndarray | Tensor, np.ndarray | Tensor],
        test: tuple[np.ndarray | Tensor, np.ndarray | Tensor],
        class_names: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        padding: int = 4,
        flip: bool = True,
        val_split: int = 0,
        augment: str = "none",
        workers: int = 2,
        per_class: int | None = None,
        subset: str = "fixed",
        seed: int = 0,
        fine_labels: tuple[np.ndarray | Tensor, np.ndarray | Tensor] | None = None,
    ):
        check_workers(workers)
        self.augment = image_augment(augment, policy="cifar10", severity=3)  # AugMix's severity on CIFAR (its code)
        self.in_workers = augment != "none"
        self.workers = workers if self.in_workers else 0
        self.views = self.augment.views
        self.class_names = list(class_names)
        self.num_classes = len(self.class_names)
        self.mean, self.std = tuple(mean), tuple(std)
        self.padding, self.flip = padding, flip

        train_images, train_labels = _channels_last(train[0]), _labels("train", train[1], self.num_classes)
        fine, test_fine = (torch.as_tensor(part) for part in fine_labels or (train_labels, test[1]))
        kept, held = hold_out(train_labels, val_split)
        if subset not in ("fixed", "per_seed"):
            raise UserError(f"dataset.subset={subset} is neither fixed nor per_seed")
        drawn = kept
        if per_class is not None:
            drawn = kept[balanced_subset(fine[kept], per_class, *([seed] if subset == "per_seed" else []))]
        self._splits = {"train": (train_images[drawn], train_labels[drawn])}
        if val_split:
            self._splits["val"] = (train_images[held], train_labels[held])
        self._splits["test"] = (_channels_last(test[0]), _labels("test", test[1], self.num_classes))
        self.fine_test_labels = test_fine.to(torch.int64)

        self.image_size = train_images.shape[1]
        self.sizes = {split: len(labels) for split, (_, labels) in self._splits.items()}
        digest = hashlib.blake2b(repr((self.class_names, self.sizes)).encode(), digest_size=6)
        drawn_from = {"train": (train_images[kept], train_labels[kept])} if subset == "per_seed" else {}
        for part in (part for images_and_labels in (self._splits | drawn_from).values() for part in images_and_labels):
            digest.update(part.numpy())
        self.fingerprint = digest.hexdigest()
        images, labels = self._splits["train"]
        self._splits["train"] = (F.pad(images, (0, 0, padding, padding, padding, padding)), labels)
        self._on_device: dict[tuple[str, torch.device], Batch] = {}

    def arrays(self, split: str, device: torch.device = CPU) -> Batch:
        """Return a split as it was given: images uint8 (N, S, S, 3), labels int64 (N,), on `device`."""
        images, labels = self._store(split, device)
        if split == "train":
            inside = slice(self.padding, self.padding + self.image_size)
            images = images[:, inside, inside]
        return images, labels

    def train_batches(self, batch_size: int, seed: int, ranks: Ranks = ONE_RANK) -> "TrainBatches | WorkerBatches":
        """Return this rank's augmented training batches; `batch_size` is that of all ranks together."""
        if not self.in_workers:
            return TrainBatches(self, batch_size, seed, ranks)
        items = _Items(*self._splits["train"], self.image_size, self.padding, self.flip, self.augment, seed)
        return WorkerBatches(items, batch_size, seed, ranks, self.workers, self._prepare)

    def eval_batches(self, split: str, batch_size: int, ranks: Ranks = ONE_RANK) -> Normalized:
        """Return the images rank, rank + world_size, ... of `split`, not augmented, in batches."""
        check_split(split, self.sizes)
        pieces = eval_pieces(self.sizes[split], batch_size, ranks)
        return Normalized(self.image_batches(split, pieces, ranks.device), self.mean, self.std)

    def image_batches(self, split: str, pieces: list[range], device: torch.device = CPU) -> Repeatable:
        """Return the images of `split` whose indices are in `pieces`, a batch each, as they are."""
        check_split(split, self.sizes)

        def read() -> Iterator[Batch]:
            images, labels = self.arrays(split, device)
            for piece in pieces:
                index = slice(piece.start, piece.stop, piece.step) if isinstance(piece, range) else piece
                yield images[index].permute(0, 3, 1, 2), labels[index]

        return Repeatable(pieces, read)

    def _prepare(self, labels: Tensor, *columns: Tensor) -> Batch:
        """Return the batch of what workers yield: labels and pixels, each (n, ...)."""
        images = normalize(self.augment.to_float(*columns), self.mean, self.std)
        return images, torch.cat([labels] * self.views)

    def _store(self, split: str, device: torch.device) -> Batch:
        """Return the images (training images padded) and labels of a split on `device`, copied there once."""
        check_split(split, self.sizes)
        if device.type == "cpu":
            return self._splits[split]
        if (split, device) not in self._on_device:
            images, labels = self._splits[split]
            self._on_device[split, device] = (images.to(device), labels.to(device))
        return self._on_device[split, device]


class TrainBatches:
    """The training batches of one rank; ``len`` is the number of steps in an epoch."""

    def __init__(self, data: InMemoryData, batch_size: int, seed: int, ranks: Ranks):
        self.data, self.seed, self.device = data, seed, ranks.device
        self.pieces = rank_pieces(data.sizes["train"], batch_size, ranks)

    def __len__(self) -> int:
        return len(self.pieces)

    def inputs(self, epoch: int, start_step: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """Yield what :meth:`prepare` makes the batches of: image indices, crops and flips, each (n, ...)."""
        data, n = self.data, self.data.sizes["train"]
        offsets, flips = _draw_epoch(n, data.padding, data.flip, self.seed, epoch)
        order = torch.tensor(epoch_order(n, self.seed, epoch))
        numbers = [order, offsets[order], flips[order]]
        if self.device.type == "cuda":  # they cross to it here, once; from now on the host waits for nothing
            numbers = [column.pin_memory().to(self.device, non_blocking=True) for column in numbers]
        for piece in remaining(self.pieces, start_step):
            yield tuple(column[piece] for column in numbers)

    def prepare(self, index: Tensor, offsets: Tensor, flips: Tensor) -> Batch:
        """Crop, flip and normalise the images `index`; returns images float32 normalised (n, 3, S, S) and labels."""
        data = self.data
        images, labels = data._store("train", self.device)
        batch = crop_flip(images, index, offsets, flips, data.image_size)
        return normalize(to_float(batch), data.mean, data.std), labels[index]


class _Items(Dataset):
    """Labels and padded images by (epoch, index), cropped, flipped and augmented: a function of seed and key alone."""

    def __init__(
        self, padded: Tensor, labels: Tensor, size: int, padding: int, flip: bool, augment: ImageAugment, seed: int
    ):
        self.padded, self.labels, self.size, self.padding, self.flip = padded, labels, size, padding, flip
        self.augment, self.seed = augment, seed

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, ...]:
        from PIL import Image

        epoch, index = key
        offsets, flips = _draw_epoch(len(self.labels), self.padding, self.flip, self.seed, epoch)
        top, left = offsets[index].tolist()
        image = self.padded[index, top : top + self.size, left : left + self.size].numpy()
        image = Image.fromarray(np.ascontiguousarray(image[:, ::-1] if flips[index] else image))
        return self.labels[index], *self.augment(image, derive_seed(self.seed, "augment", epoch, index))


@lru_cache(maxsize=1)  # for the workers, who ask again for every image
def _draw_epoch(n: int, padding: int, flip: bool, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
    """Draw the crops and flips of an epoch for all `n` images."""
    return draw_crop_flip(n, padding, flip, torch.Generator().manual_seed(derive_seed(seed, "augment", epoch)))


def _labels(split: str, labels: np.ndarray | Tensor, num_classes: int) -> Tensor:
    """Return labels as int64; raise UserError for none at all, or for one that is no class."""
    labels = torch.as_tensor(labels, dtype=torch.int64)
    if not len(labels) or labels.min() < 0 or labels.max() >= num_classes:
        found = f"labels from {labels.min()} to {labels.max()}" if len(labels) else "no image"
        raise UserError(f"{split} has {found}, but labels must be from 0 to {num_classes - 1}")
    return labels


def _channels_last(images: np.ndarray | Tensor) -> Tensor:
    """Return images as a uint8 tensor (N, S, S, 3)."""
    images = torch.as_tensor(images)
    if images.ndim == 4 and images.shape[1] == 3 and images.shape[3] != 3:
        images = images.permute(0, 2, 3, 1)
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(f"expected square uint8 RGB images, got {images.dtype} of shape {tuple(images.shape)}")
    return images.contiguous()
