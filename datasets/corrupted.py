"""Test images with common corruptions in the published layouts: CIFAR-10-C, CIFAR-100-C, ImageNet-C and their like.

Both readers, and :class:`smoothmix.evaluation.generated.GeneratedImages`, have the `source` that records name,
`missing` (of the corruptions asked for, each with the reason and the remedy) and `batches`: images uint8 (n, 3, S,
S), labels (n,). The k-th batch of a corruption-severity pair goes to rank k % world_size; nothing is padded or
dropped.
"""

import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.corrupted_sets import CORRUPTED, GENERATED, CorruptedSet
from datasets.decode import EvalItems
from datasets.layout import list_images
from datasets.loader import batches_on, make_loader, stop_workers
from datasets.sampling import Repeatable, TestSubset, check_workers, whole_batches
from smoothmix.corruptions import SEVERITIES
from smoothmix.utils.command import shell_command
from smoothmix.utils.data import Batch
from smoothmix.utils.distributed import ONE_RANK, Ranks
from smoothmix.utils.errors import UserError, unreadable
from smoothmix.utils.files import read_object
from smoothmix.utils.walk import subfolders

IMAGENET_SIZE = 224


def open_files(
    corrupted_set: CorruptedSet, folder: Path, data: Any, ranks: Ranks = ONE_RANK, subset: TestSubset | None = None
) -> "CorruptedArrays | CorruptedFolders":
    """Return the reader of `folder`, whose images are those of the test split of `data`, corrupted, or a `subset`."""
    if corrupted_set.constants == "cifar":
        labels = data.arrays("test")[1]
        return CorruptedArrays(folder, labels, data.image_size, ranks, data.fine_test_labels, subset)
    return CorruptedFolders(folder, data.class_names, data.fine_test_labels, data.workers, ranks, subset)


def _pieces(n: int, batch_size: int, ranks: Ranks, subset: TestSubset | None) -> list[Sequence[int]]:
    """Return the rows of each batch of this rank among `n` test images, or among those of `subset`."""
    if subset is None:
        return [*whole_batches(n, batch_size, ranks)]
    return subset.rows(whole_batches(subset.sizes["test"], batch_size, ranks))


class CorruptedArrays:
    """Images in `folder`/<corruption>.npy, uint8 (5n, S, S, 3), with severity s in rows (s - 1) n to s n.

    The files are mapped into memory. On a CPU they are read a batch at a time; to a GPU the images of a severity are
    copied at once.

    Args:
        folder: holds a file for each corruption, and labels.npy: the n labels of the clean test set, five times over.
        labels: of the clean test set, integers (n,).
        image_size: S, in pixels.
        ranks: this process among the others; its batches lie on its device.
        fine_labels: what labels.npy holds, if not `labels`.
        subset: the images to read, if not all.

    Raises:
        UserError: labels.npy is missing or damaged, or has other labels.
    """

    def __init__(
        self,
        folder: Path,
        labels: Tensor,
        image_size: int,
        ranks: Ranks = ONE_RANK,
        fine_labels: Tensor | None = None,
        subset: TestSubset | None = None,
    ):
        self.folder, self.image_size, self.ranks, self.subset = folder, image_size, ranks, subset
        self.source = _source(folder)
        self._check_labels((labels if fine_labels is None else fine_labels).cpu().numpy())
        self.labels = labels.to(ranks.device, torch.int64)

    def missing(self, names: Iterable[str]) -> dict[str, str]:
        """Return those of the corruptions `names` that have no file, and what to do."""
        reasons = {name: f"there is no {self.folder / name}.npy: {_remedy(self.folder)}" for name in names}
        return {name: reason for name, reason in reasons.items() if not (self.folder / f"{name}.npy").is_file()}

    def batches(self, name: str, severity: int, batch_size: int) -> Repeatable:
        """Return this rank's batches of one corruption at one severity, 1 to 5.

        Raises:
            UserError: the file is missing, damaged, or no uint8 (5n, S, S, 3).
            ValueError: another severity, or an empty batch.
        """
        _check_severity(severity)
        path, n, side = self.folder / f"{name}.npy", len(self.labels), self.image_size
        images, shape = self._open(path), (5 * n, side, side, 3)
        if images.dtype != np.uint8 or images.shape != shape:
            raise self._wrong(path, f"it should be uint8 {shape}, and is {images.dtype} {images.shape}")
        rows = images[(severity - 1) * n : severity * n]
        pieces = _pieces(n, batch_size, self.ranks, self.subset)

        def read() -> Iterator[Batch]:
            device = self.ranks.device
            whole = None if device.type == "cpu" else torch.from_numpy(np.array(rows)).to(device)
            for piece in pieces:
                index = slice(piece.start, piece.stop) if isinstance(piece, range) else piece
                batch = torch.from_numpy(np.array(rows[index])) if whole is None else whole[index]
                yield batch.permute(0, 3, 1, 2), self.labels[index]

        return Repeatable(pieces, read)

    def _open(self, path: Path) -> np.ndarray:
        if not path.is_file():
            raise UserError(f"there is no {path}: {_remedy(self.folder)}")
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # damaged files make NumPy raise nearly anything
            raise self._wrong(path, " ".join(str(error).split()) or type(error).__name__) from error
        if not isinstance(array, np.ndarray):
            raise self._wrong(path, "it is an archive of arrays")
        return array

    def _check_labels(self, labels: np.ndarray) -> None:
        path, n = self.folder / "labels.npy", len(labels)
        found = self._open(path)
        if found.dtype.kind not in "iu" or found.shape != (5 * n,):
            raise self._wrong(path, f"it should be integers ({5 * n},), and is {found.dtype} {found.shape}")
        expected = np.tile(labels, 5)
        if (differing := np.flatnonzero(found != expected)).size:
            row = differing[0]
            raise self._wrong(
                path, f"the label of row {row} is {found[row]}, and {expected[row]} in the clean test set"
            )

    def _wrong(self, path: Path, reason: str) -> UserError:
        return UserError(f"{path} cannot be used ({reason}): delete it, then {_remedy(self.folder)}")


class CorruptedFolders:
    """Images in `folder`/<corruption>/<severity>/<class>/, each 224x224 and used as it is, in the clean ones' order.

    Args:
        folder: ImageNet-C.
        class_names: of the clean data set, in the order of its labels.
        labels: of the clean test set, integers (n,); images of one class are in the order of their names there.
        workers: processes that decode images; 0 decodes them in this one.
        ranks: this process among the others; its batches lie on its device.
        subset: the images to read, if not all.

    Raises:
        UserError: a negative number of workers.
    """

    def __init__(
        self,
        folder: Path,
        class_names: Sequence[str],
        labels: Tensor,
        workers: int,
        ranks: Ranks = ONE_RANK,
        subset: TestSubset | None = None,
    ):
        check_workers(workers)
        self.subset = subset
        self.order = labels.argsort(stable=True).argsort().numpy()  # clean images may lie in a flat folder
        self.folder, self.class_names, self.workers, self.ranks = folder, list(class_names), workers, ranks
        self.source = _source(folder)

    def missing(self, names: Iterable[str]) -> dict[str, str]:
        """Return those of the corruptions `names` that lack the folder of a severity, and what to do."""
        reasons = {}
        for name in names:
            for severity in SEVERITIES:
                if not (pair := self.folder / name / str(severity)).is_dir():
                    reasons[name] = f"there is no folder {pair}: {_remedy(self.folder)}"
        return reasons

    def batches(self, name: str, severity: int, batch_size: int) -> Repeatable:
        """Return this rank's batches of one corruption at one severity, 1 to 5.

        Raises:
            UserError: the folder is missing, its classes are others, a class is empty, or images are missing.
                While iterating: an image that cannot be read or is not
                224x224.
            ValueError: another severity, or an empty batch.
        """
        _check_severity(severity)
        pair = self.folder / name / str(severity)
        if not pair.is_dir():
            raise UserError(f"there is no folder {pair}: {_remedy(self.folder)}")
        found = set(subfolders(pair))
        if differing := sorted(found.symmetric_difference(self.class_names)):
            where = "only there" if differing[0] in found else "not there"
            raise UserError(
                f"the class folders of {pair} are not those of the clean test set ({len(differing)} differ, such as "
                f"{differing[0]!r}, {where}): delete {pair.parent}, then {_remedy(self.folder)}"
            )
        paths, labels = list_images(pair, self.class_names)
        if len(paths) != len(self.order):
            raise UserError(
                f"{pair} holds {len(paths)} images, the clean test set {len(self.order)}: delete {pair}, then "
                f"{_remedy(self.folder)}"
            )
        paths, labels = paths[self.order], labels[self.order]
        pieces = _pieces(len(paths), batch_size, self.ranks, self.subset)

        def read() -> Iterator[Batch]:
            loader = make_loader(EvalItems(paths, labels, _as_it_is), pieces, self.workers, self.ranks.device)
            try:
                for images, labels_of_batch in batches_on(loader, self.ranks.device):
                    yield images.permute(0, 3, 1, 2), labels_of_batch
            finally:
                stop_workers(weakref.ref(loader))  # there may be 95 pairs

        return Repeatable(pieces, read)


def _as_it_is(image: Image.Image) -> Image.Image:
    if image.size != (IMAGENET_SIZE, IMAGENET_SIZE):
        raise UserError(
            f"it is {image.width}x{image.height}, not {IMAGENET_SIZE}x{IMAGENET_SIZE}, and corrupted images are never "
            "resized; get the published files"
        )
    return image


def _check_severity(severity: int) -> None:
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, not {severity!r}")


def _source(folder: Path) -> str:
    """Return where the files of a folder came from, in words."""
    path = folder / GENERATED
    if not path.is_file():
        return "published files"
    try:
        made = read_object(path)
        return f"generated files (seed {made['seed']}{', on a GPU' if made.get('device_type') == 'cuda' else ''})"
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} should be a JSON object with a seed: delete {folder} and make it again") from error


def _remedy(folder: Path) -> str:
    """Return how to get what is missing in `folder`."""
    names = {entry.folder: entry.name for entry in CORRUPTED.values()}
    name = names.get(folder.name)
    where = ["--output", folder] if name is None else ["--root", folder.parent]
    if name in (None, "digits_c") or (folder / GENERATED).is_file():
        command = shell_command(["python", "scripts/make_corruptions.py", name or "NAME", *where])
        return f"make the files with `{command}`"
    return f"get the files with `{shell_command(['python', 'scripts/download.py', name, *where])}`"
