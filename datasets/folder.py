"""Images in class folders, decoded by worker processes and finished on the device: ImageNet and its like."""

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datasets.augment import Normalized, draw_color, draw_resized_crop, normalize, recolor
from datasets.batches import eval_pieces, rank_pieces
from datasets.decode import Crop, center_crop, crop_of, load_rgb, pixels
from datasets.image_augment import ImageAugment, image_augment
from datasets.loader import EpochSampler, batches_on, check_workers, make_loader
from datasets.subsets import check_split, hold_out
from smoothmix.utils.data import Batch
from smoothmix.utils.distributed import CPU, ONE_RANK, Ranks
from smoothmix.utils.errors import UserError
from smoothmix.utils.seeding import derive_seed
from smoothmix.utils.walk import subfolders, walk_files

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


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
    decode: str = "exact",
) -> "FolderData":
    """Return the images of `root/train/<class>/` and `root/val/<class>/` (or `root/test/<class>/`).

    The folder that models are evaluated on, `val` (ImageNet's name) or `test`, is the split "test" of this data set;
    the split "val" is what `val_split` holds out of train. Images may lie in nested folders; classes are numbered in
    the sorted order of their names. The defaults are the ImageNet recipe of CutMix.

    Args:
        root: folder with `train` and exactly one of `val` and `test`.
        image_size: side of what the model sees, in pixels.
        resize: shorter side to which an image is resized before the central crop, in evaluation.
        workers: processes that read images; 0 reads them in the training process.
        val_split: how many training images to hold out as the split "val".
        num_classes: refuse a folder with another number of classes.
        scale: range of the random crop's share of the image's area.
        ratio: range of the random crop's width / height.
        flip: mirror half of the training images.
        jitter: strength of the brightness, contrast and saturation changes; 0 for none.
        lighting: standard deviation of the PCA lighting noise; 0 for none.
        augment: "none", "autoaugment" (the policy found on ImageNet) or "augmix" (severity 1), after the crop and the
            flip; jitter and lighting come after it, the same for all views of an image.
        decode: how training images are read: "exact", as Pillow does, or "fast" (:func:`datasets.decode.fast_crop`),
            which changes JPEGs by a few grey levels. Images to evaluate on are always read exactly.

    Raises:
        UserError: folders that are missing, empty or do not agree, sizes that make no sense, or an `augment` or
            `decode` of another name.
    """
    if image_size < 1:
        raise UserError(f"image_size={image_size} is no side of an image: give it in pixels")
    if resize < image_size:
        raise UserError(f"resize={resize} is smaller than image_size={image_size}: the central crop does not fit")
    for name, (low, high) in (("scale", scale), ("ratio", ratio)):
        if not 0 < low <= high < math.inf:
            raise UserError(f"{name}=[{low}, {high}] is no range of positive numbers: give the smaller one first")
    for name, strength in (("jitter", jitter), ("lighting", lighting)):
        if not 0 <= strength <= 1:
            raise UserError(f"{name}={strength} is out of range: give a number from 0 (none) to 1")
    check_workers(workers)
    one_by_one = image_augment(augment, policy="imagenet", severity=1)  # AugMix's severity on ImageNet (its code)
    crop = crop_of(decode)
    transform = TrainTransform(image_size, tuple(scale), tuple(ratio), flip, jitter, lighting, one_by_one, crop)
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
    crop: Crop


class FolderData:
    """Images in class folders; see :func:`class_folders` for the arguments."""

    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(
        self, root: Path, transform: TrainTransform, resize: int, workers: int, val_split: int, num_classes: int | None
    ):
        train, test = root / "train", _eval_folder(root)
        self.class_names = _class_names(train, test)
        self.num_classes = len(self.class_names)
        if num_classes not in (None, self.num_classes):
            raise UserError(f"{train} has {self.num_classes} class folders, not {num_classes}: is it the right folder?")
        self.image_size, self.views = transform.image_size, transform.augment.views
        self.transform, self.resize, self.workers = transform, resize, workers

        paths, labels = list_images(train, self.class_names)
        kept, held = (part.numpy() for part in hold_out(torch.from_numpy(labels), val_split))
        self._splits = {"train": (paths[kept], labels[kept])}
        if val_split:
            self._splits["val"] = (paths[held], labels[held])
        self._splits["test"] = list_images(test, self.class_names)
        self.fine_test_labels = torch.from_numpy(self._splits["test"][1])
        self._folders = {"train": train, "val": train, "test": test}
        self.sizes = {split: len(labels) for split, (_, labels) in self._splits.items()}
        digest = hashlib.blake2b(repr((self.class_names, self.sizes)).encode(), digest_size=6)
        for split_paths, _ in self._splits.values():  # names, not contents: reading those would take hours
            digest.update(b"\n".join(path[len(os.fsencode(root)) :] for path in split_paths))
        self.fingerprint = digest.hexdigest()

    def train_batches(self, batch_size: int, seed: int, ranks: Ranks = ONE_RANK) -> "TrainBatches":
        """Return this rank's augmented training batches; `batch_size` is that of all ranks together."""
        return TrainBatches(self, batch_size, seed, ranks)

    def eval_batches(self, split: str, batch_size: int, ranks: Ranks = ONE_RANK) -> Normalized:
        """Return the images rank, rank + world_size, ... of `split`, resized and cropped centrally, in batches."""
        check_split(split, self.sizes)
        pieces = eval_pieces(self.sizes[split], batch_size, ranks)
        return Normalized(self.image_batches(split, pieces, ranks.device), self.mean, self.std)

    def image_batches(self, split: str, pieces: list[range], device: torch.device = CPU) -> "ImageBatches":
        """Return the images of `split` whose indices are in `pieces`, a batch each, resized and cropped centrally."""
        check_split(split, self.sizes)
        return ImageBatches(self, split, pieces, device)

    def files(self, split: str) -> list[Path]:
        """Return the files of `split` in the order of their images, each as <class>/<file>."""
        check_split(split, self.sizes)
        return [Path(os.fsdecode(path)).relative_to(self._folders[split]) for path in self._splits[split][0]]


class TrainBatches:
    """The training batches of one rank; ``len`` is the number of steps in an epoch. One epoch runs at a time."""

    def __init__(self, data: FolderData, batch_size: int, seed: int, ranks: Ranks):
        self.data, self.device = data, ranks.device
        self.pieces = rank_pieces(data.sizes["train"], batch_size, ranks)
        self.sampler = EpochSampler(data.sizes["train"], self.pieces, seed)
        items = _TrainItems(*data._splits["train"], data.transform, seed)
        self.loader = make_loader(items, self.sampler, data.workers, ranks.device)

    def __len__(self) -> int:
        return len(self.pieces)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Yield (images float32 normalised (n, 3, S, S), labels int64 (n,)) of the steps from `start_step` on.

        With three views (AugMix) the batch is three times as long; see :class:`smoothmix.utils.data.TrainBatches`.

        Raises:
            UserError: an image that cannot be read.
        """
        for inputs in self.inputs(epoch, start_step):
            yield self.prepare(*inputs)

    def inputs(self, epoch: int, start_step: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """Yield what :meth:`prepare` makes the batches of: labels, colour changes and pixels, each (n, ...)."""
        self.sampler.start(epoch, start_step)
        yield from batches_on(self.loader, self.device)

    def prepare(self, labels: Tensor, order: Tensor, factors: Tensor, alphas: Tensor, *columns: Tensor) -> Batch:
        """Change the colours and normalise; returns images and labels as :meth:`epoch` yields them."""
        data, transform = self.data, self.data.transform
        images = transform.augment.to_float(*columns)
        if data.views > 1:
            labels, order, factors, alphas = (
                torch.cat([numbers] * data.views) for numbers in (labels, order, factors, alphas)
            )
        if transform.jitter or transform.lighting:
            return recolor(images, order, factors, alphas, data.mean, data.std), labels
        return normalize(images, data.mean, data.std), labels


class ImageBatches:
    """Batches of (images uint8 (n, 3, S, S), labels int64 (n,)); can be iterated again and again."""

    def __init__(self, data: FolderData, split: str, pieces: list[range], device: torch.device):
        self.pieces, self.device = pieces, device
        items = _EvalItems(*data._splits[split], data.image_size, data.resize)
        self.loader = make_loader(items, pieces, data.workers, device)

    def __len__(self) -> int:
        return len(self.pieces)

    def __iter__(self) -> Iterator[Batch]:
        for images, labels in batches_on(self.loader, self.device):
            yield images.permute(0, 3, 1, 2), labels


# ---- reading the folders


def _eval_folder(root: Path) -> Path:
    """Return the folder of evaluation images: `val` or `test`, whichever there is."""
    if not (root / "train").is_dir():
        raise UserError(f"there is no folder {root / 'train'}: set dataset.root to the folder that holds train and val")
    found = [root / name for name in ("val", "test") if (root / name).is_dir()]
    if len(found) != 1:
        how_many = "both of val and test" if found else "neither val nor test"
        raise UserError(f"{root} has {how_many}: it should have exactly one of them, to evaluate on")
    return found[0]


def _class_names(train: Path, test: Path) -> list[str]:
    """Return the sorted names of the class folders, which must be the same in both."""
    names, others = (set(subfolders(folder)) for folder in (train, test))
    if not names:
        raise UserError(f"{train} has no class folders: images belong in {train}/<class>/")
    if differing := sorted(names ^ others):
        shown = ", ".join(f"{name!r} (only in {'train' if name in names else test.name})" for name in differing[:3])
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise UserError(f"the class folders of {train} and {test} differ: {shown}{more}; both need the same classes")
    return sorted(names)


def list_images(folder: Path, class_names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the paths (bytes) and labels (int64) of all images, sorted within each class.

    A NumPy array of bytes and not a list of strings: workers would copy a list page by page as they count references.
    """
    paths, labels = [], []
    for label, name in enumerate(class_names):
        images = [path for path in walk_files(folder / name) if path.lower().endswith(EXTENSIONS)]
        if not images:
            raise UserError(
                f"the class folder {folder / name} holds no image ({' '.join(EXTENSIONS)}): fill it or remove the class"
            )
        paths += [os.fsencode(path) for path in sorted(images)]
        labels += [label] * len(images)
    return np.array(paths), np.array(labels, dtype=np.int64)


# ---- one image, in a worker


class _TrainItems(Dataset):
    """Images by (epoch, index), with the numbers that finish them on the device: a pure function of seed and key."""

    def __init__(self, paths: np.ndarray, labels: np.ndarray, transform: TrainTransform, seed: int):
        self.paths, self.labels, self.transform, self.seed = paths, labels, transform, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, ...] | UserError:
        from PIL.Image import Transpose

        epoch, index = key
        transform = self.transform
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "item", epoch, index))

        def draw(height: int, width: int) -> tuple[int, int, int, int]:
            return draw_resized_crop(height, width, transform.scale, transform.ratio, generator)

        try:
            image = transform.crop(os.fsdecode(self.paths[index]), transform.image_size, draw)
        except UserError as error:
            return error
        if transform.flip and torch.rand((), generator=generator) < 0.5:
            image = image.transpose(Transpose.FLIP_LEFT_RIGHT)
        color = draw_color(transform.jitter, transform.lighting, generator)
        columns = transform.augment(image, derive_seed(self.seed, "augment", epoch, index))
        return torch.tensor(self.labels[index]), *color, *columns


class _EvalItems(Dataset):
    """Images by index."""

    def __init__(self, paths: np.ndarray, labels: np.ndarray, image_size: int, resize: int):
        self.paths, self.labels, self.image_size, self.resize = paths, labels, image_size, resize

    def __getitem__(self, index: int) -> tuple[Tensor, ...] | UserError:
        try:
            image = load_rgb(os.fsdecode(self.paths[index]))
        except UserError as error:
            return error
        return pixels(center_crop(image, self.image_size, self.resize)), torch.tensor(self.labels[index])
