"""Images in class folders, decoded by worker processes and finished on the device: ImageNet and its like."""

import hashlib
import math
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datasets.augment import Normalized, draw_color, draw_resized_crop, normalize, recolor
from datasets.decode import EvalItems, load_rgb, resized_crop
from datasets.image_augment import ImageAugment, image_augment
from datasets.layout import find_images
from datasets.loader import WorkerBatches, batches_on, make_loader
from datasets.sampling import Repeatable, check_split, check_workers, eval_pieces
from smoothmix.utils.data import Batch
from smoothmix.utils.distributed import CPU, ONE_RANK, Ranks
from smoothmix.utils.errors import UserError
from smoothmix.utils.numerics import derive_seed
from smoothmix.utils.pictures import center_crop

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def class_folders(
    root: str | Path,
    image_size: int = 224,
    resize: int = 256,
    workers: int = 2,
    val_split: int = 0,
    num_classes: int | None = None,
    scale: Sequence[float] = (0.08, 1.0),
    ratio: Sequence[float] = (3 / 4, 4 / 3),
    flip: bool = True,
    jitter: float = 0.4,
    lighting: float = 0.1,
    augment: str = "none",
) -> "FolderData":
    """Return the images of `root/train/<class>/` and `root/val/<class>/` (or `root/test/<class>/`).

    :func:`datasets.layout.find_images` describes the other layouts that are read. The folder that models are evaluated
    on, `val` (ImageNet's name) or `test`, is the split "test" of this data set; the split "val" is what `val_split`
    holds out of train. Images may lie in nested folders. The fingerprint covers the names and sizes of all files, and
    the order of the classes. The defaults are the ImageNet recipe of CutMix.

    Args:
        root: folder with `train`, and `val` or `test`.
        image_size: side of what the model sees, in pixels.
        resize: shorter side to which an image is resized before the central crop, in evaluation.
        workers: processes that read images; 0 reads them in the training process.
        val_split: how many training images to hold out as the split "val"; as "test" where there is no such folder.
        num_classes: refuse a folder with another number of classes.
        scale: range of the random crop's share of the image's area.
        ratio: range of the random crop's width / height.
        flip: mirror half of the training images.
        jitter: strength of the brightness, contrast and saturation changes; 0 for none.
        lighting: standard deviation of the PCA lighting noise; 0 for none.
        augment: "none", "autoaugment" (the policy found on ImageNet) or "augmix" (severity 1), after the crop and the
            flip; jitter and lighting come after it, the same for all views of an image.

    Raises:
        UserError: folders that are missing, empty or do not agree, sizes that make no sense, or an `augment` of
            another name.
    """
    if image_size < 1:
        raise UserError(f"image_size={image_size} is invalid: give the side of the images in pixels")
    if resize < image_size:
        raise UserError(f"resize={resize} is smaller than image_size={image_size}: the central crop does not fit")
    for name, (low, high) in (("scale", scale), ("ratio", ratio)):
        if not 0 < low <= high < math.inf:
            raise UserError(f"{name}=[{low}, {high}] is not a range of positive numbers: give the smaller first")
    for name, strength in (("jitter", jitter), ("lighting", lighting)):
        if not 0 <= strength <= 1:
            raise UserError(f"{name}={strength} is out of range: give a number from 0 (none) to 1")
    check_workers(workers)
    one_by_one = image_augment(augment, policy="imagenet", severity=1)  # AugMix's severity on ImageNet (its code)
    transform = TrainTransform(image_size, tuple(scale), tuple(ratio), flip, jitter, lighting, one_by_one)
    return FolderData(Path(root).expanduser(), transform, resize, workers, val_split, num_classes)


@dataclass(frozen=True)
class TrainTransform:
    """What happens to a training image; the arguments of :func:`class_folders`."""

    image_size: int
    scale: tuple[float, float]
    ratio: tuple[float, float]
    flip: bool
    jitter: float
    lighting: float
    augment: ImageAugment


class FolderData:
    """Images in class folders; see :func:`class_folders` for the arguments."""

    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(
        self, root: Path, transform: TrainTransform, resize: int, workers: int, val_split: int, num_classes: int | None
    ):
        self.root = root
        self.class_names, self._splits, flat = find_images(root, val_split)
        self.num_classes = len(self.class_names)
        if num_classes not in (None, self.num_classes):
            raise UserError(f"{root} has {self.num_classes} classes, not {num_classes}: is it the right folder?")
        self.image_size, self.views = transform.image_size, transform.augment.views
        self.transform, self.resize, self.workers = transform, resize, workers

        self.fine_test_labels = torch.from_numpy(self._splits["test"][1])
        self.sizes = {split: len(labels) for split, (_, labels) in self._splits.items()}
        digest = hashlib.blake2b(repr((self.class_names, self.sizes)).encode(), digest_size=6)
        for split_paths, _ in self._splits.values():  # names and sizes: reading the contents would take hours
            inside = (b"%s %d" % (path[len(os.fsencode(root)) :], _size(path)) for path in split_paths)
            digest.update(b"\n".join(inside))
        if flat:
            digest.update(self._splits["test"][1])
        self.fingerprint = digest.hexdigest()

    def train_batches(self, batch_size: int, seed: int, ranks: Ranks = ONE_RANK) -> WorkerBatches:
        """Return this rank's augmented training batches; `batch_size` is that of all ranks together.

        Raises:
            UserError: there are images to evaluate on alone.
        """
        if "train" not in self.sizes:
            raise UserError(
                f"there is no folder {self.root / 'train'}: the data set can only be evaluated (with bare class "
                "folders, dataset.val_split=N holds out N images for that and trains on the others)"
            )
        items = _TrainItems(*self._splits["train"], self.transform, seed)
        return WorkerBatches(items, batch_size, seed, ranks, self.workers, self._prepare)

    def _prepare(self, labels: Tensor, order: Tensor, factors: Tensor, alphas: Tensor, *columns: Tensor) -> Batch:
        """Return the batch of what workers yield, each (n, ...): colours are changed and normalised here."""
        transform = self.transform
        images = transform.augment.to_float(*columns)
        if self.views > 1:
            labels, order, factors, alphas = (
                torch.cat([numbers] * self.views) for numbers in (labels, order, factors, alphas)
            )
        if transform.jitter or transform.lighting:
            return recolor(images, order, factors, alphas, self.mean, self.std), labels
        return normalize(images, self.mean, self.std), labels

    def eval_batches(self, split: str, batch_size: int, ranks: Ranks = ONE_RANK) -> Normalized:
        """Return the images rank, rank + world_size, ... of `split`, resized and cropped centrally, in batches."""
        check_split(split, self.sizes)
        pieces = eval_pieces(self.sizes[split], batch_size, ranks)
        return Normalized(self.image_batches(split, pieces, ranks.device), self.mean, self.std)

    def image_batches(self, split: str, pieces: list[range], device: torch.device = CPU) -> Repeatable:
        """Return the images of `split` whose indices are in `pieces`, a batch each, resized and cropped centrally."""
        check_split(split, self.sizes)
        items = EvalItems(*self._splits[split], partial(center_crop, size=self.image_size, resize=self.resize))
        loader = make_loader(items, pieces, self.workers, device)

        def read() -> Iterator[Batch]:
            for images, labels in batches_on(loader, device):
                yield images.permute(0, 3, 1, 2), labels

        return Repeatable(pieces, read)

    def files(self, split: str) -> list[Path]:
        """Return the files of `split` in the order of their images, each as <class>/<file>."""
        check_split(split, self.sizes)
        images = zip(*self._splits[split], strict=True)
        return [self._file(os.fsdecode(path), self.class_names[label]) for path, label in images]

    def _file(self, path: str, class_name: str) -> Path:
        parts = Path(path).relative_to(self.root).parts
        for start in (1, 0):  # <split>/<class>/<file>, <class>/<file>
            if parts[start : start + 1] == (class_name,):
                return Path(*parts[start:])
        return Path(class_name, parts[-1])


def _size(path: bytes) -> int:
    """Return the size of an image file in bytes."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(
            f"cannot read the image {os.fsdecode(path)} ({error.strerror}): replace the file or remove it"
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{os.fsdecode(path)} is not a regular file, as an image must be: remove it")
    return status.st_size


# ---- one image, in a worker


class _TrainItems(Dataset):
    """Images by (epoch, index), with the numbers that finish them on the device: a pure function of seed and key."""

    def __init__(self, paths: np.ndarray, labels: np.ndarray, transform: TrainTransform, seed: int):
        self.paths, self.labels, self.transform, self.seed = paths, labels, transform, seed

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, ...] | UserError:
        from PIL.Image import Transpose

        epoch, index = key
        transform = self.transform
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "item", epoch, index))

        try:
            image = load_rgb(os.fsdecode(self.paths[index]))
        except UserError as error:
            return error
        box = draw_resized_crop(image.height, image.width, transform.scale, transform.ratio, generator)
        image = resized_crop(image, box, transform.image_size)
        if transform.flip and torch.rand((), generator=generator, dtype=torch.float32) < 0.5:
            image = image.transpose(Transpose.FLIP_LEFT_RIGHT)
        color = draw_color(transform.jitter, transform.lighting, generator)
        columns = transform.augment(image, derive_seed(self.seed, "augment", epoch, index))
        return torch.tensor(self.labels[index]), *color, *columns
