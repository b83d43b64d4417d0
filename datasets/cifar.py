"""CIFAR-10 and CIFAR-100 from the Python files that their author publishes, in torchvision's folder layout."""

import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datasets.download import Archive, fetch, md5
from datasets.image_augment import check_augment
from datasets.in_memory import InMemoryData
from smoothmix.utils.command import shell_command
from smoothmix.utils.errors import UserError

# Of both data sets, as in the CutMix code: the numbers of CIFAR-10's training images.
MEAN = (125.3 / 255, 123.0 / 255, 113.9 / 255)
STD = (63.0 / 255, 62.1 / 255, 66.7 / 255)


class Labels(NamedTuple):
    """One of the kinds of labels of a release: their key in a file, that of their names, the number of classes."""

    key: str
    names_key: str
    num_classes: int


@dataclass(frozen=True)
class Release:
    """What the publisher's archive holds: md5 of the archive and of each file in it that is read.

    The first kind of `labels` is the finest.
    """

    name: str
    title: str
    url: str
    archive_md5: str
    folder: str
    train: dict[str, str]
    test: dict[str, str]
    meta: dict[str, str]
    labels: dict[str, Labels]

    @property
    def archive(self) -> Archive:
        """The publisher's archive, with the files in it that are read."""
        names = (*self.train, *self.test, *self.meta)
        return Archive(self.url, self.archive_md5, tuple(f"{self.folder}/{name}" for name in names))


CIFAR10 = Release(
    name="cifar10",
    title="CIFAR-10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    archive_md5="c58f30108f718f92721af3b95e74349a",
    folder="cifar-10-batches-py",
    train={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    test={"test_batch": "40351d587109b95175f43aff81a1287e"},
    meta={"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"},
    labels={"fine": Labels("labels", "label_names", 10)},
)

CIFAR100 = Release(
    name="cifar100",
    title="CIFAR-100",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
    folder="cifar-100-python",
    train={"train": "16019d7e3df5f24257cddd939b257f8d"},
    test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    meta={"meta": "7973b15100ade9c7d40fb424638fde48"},
    labels={
        "fine": Labels("fine_labels", "fine_label_names", 100),
        "coarse": Labels("coarse_labels", "coarse_label_names", 20),
    },
)


def cifar10(
    root: str | Path,
    download: bool = False,
    verify: bool = True,
    val_split: int = 0,
    augment: str = "none",
    workers: int = 2,
    per_class: int | None = None,
    subset: str = "fixed",
    seed: int = 0,
) -> InMemoryData:
    """Return CIFAR-10: 50,000 training and 10,000 test images of 10 classes, augmented by 4-pixel crops and flips.

    Args:
        root: folder that holds `cifar-10-batches-py/`.
        download: fetch what is not there.
        verify: insist on the publisher's files by their md5; false accepts repacked ones.
        val_split, augment, workers, per_class, subset, seed: see :class:`datasets.in_memory.InMemoryData`.

    Raises:
        UserError: files that are missing, damaged, or not what they should be, an `augment` of another name, or more
            images per class than there are.
    """
    options = {"val_split": val_split, "augment": augment, "workers": workers}
    options |= {"per_class": per_class, "subset": subset, "seed": seed}
    return _load(CIFAR10, Path(root).expanduser(), download, verify, "fine", options)


def cifar100(
    root: str | Path,
    download: bool = False,
    verify: bool = True,
    val_split: int = 0,
    augment: str = "none",
    workers: int = 2,
    labels: str = "fine",
    per_class: int | None = None,
    subset: str = "fixed",
    seed: int = 0,
) -> InMemoryData:
    """Return CIFAR-100 as :func:`cifar10` does, from `cifar-100-python/` under `root`.

    Args:
        labels: "fine", the 100 classes, or "coarse", their 20 superclasses of five classes each.
        per_class: images of each *fine* class, whatever `labels` is.
    """
    options = {"val_split": val_split, "augment": augment, "workers": workers}
    options |= {"per_class": per_class, "subset": subset, "seed": seed}
    return _load(CIFAR100, Path(root).expanduser(), download, verify, labels, options)


def check(release: Release, root: Path) -> None:
    """Raise UserError unless every file of `release` has its md5."""
    folder = root / release.folder
    for name, expected in (release.train | release.test | release.meta).items():
        if (found := md5(folder / name)) != expected:
            raise UserError(
                f"{folder / name} has the md5 {found}, the publisher's file {expected}: delete {folder} and "
                f"{_download(release, root)}, or accept repacked files with dataset.verify=false (for "
                f"make_corruptions.py: --no-verify)"
            )


def _download(release: Release, root: Path) -> str:
    return f"get it with `{shell_command(['python', 'scripts/download.py', release.name, '--root', root])}`"


def _load(
    release: Release, root: Path, download: bool, verify: bool, kind: str, options: dict[str, Any]
) -> InMemoryData:
    check_augment(options["augment"])
    if kind not in release.labels:
        raise UserError(
            f"dataset.labels={kind} is not one of {release.title}'s kinds; choose from {', '.join(release.labels)}"
        )
    if download:
        fetch(release.archive, root)
    if missing := release.archive.missing(root):
        raise UserError(
            f"{release.title} is not complete: there is no {missing[0]}; {_download(release, root)} (for train.py "
            "also: dataset.download=true)"
        )
    if verify:
        check(release, root)
    folder = root / release.folder
    fine, labels = release.labels["fine"], release.labels[kind]
    train_images, train_fine, train_labels = _read_split(folder, release.train, (fine, labels))
    test_images, test_fine, test_labels = _read_split(folder, release.test, (fine, labels))
    return InMemoryData(
        (train_images, train_labels),
        (test_images, test_labels),
        class_names=_read_names(folder / next(iter(release.meta)), labels),
        mean=MEAN,
        std=STD,
        fine_labels=(train_fine, test_fine),
        **options,
    )


def _read_split(folder: Path, names: Iterable[str], kinds: Sequence[Labels]) -> list[np.ndarray]:
    """Return the images (n, 3, 32, 32) uint8 of the files `names`, then the labels (n,) int64 of each kind."""
    files = [_read_file(folder / name, kinds) for name in names]
    return [np.concatenate(parts) for parts in zip(*files, strict=True)]


def _read_file(path: Path, kinds: Sequence[Labels]) -> list[np.ndarray]:
    """Return the images (n, 3, 32, 32) uint8 of one file, then the labels (n,) int64 of each kind."""
    content = load_pickle(path)
    images = content.get("data")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != 3072:
        found = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise _wrong(path, f"'data' should be uint8 (n, 3072), and is {found}")
    return [images.reshape(-1, 3, 32, 32), *(_read_labels(path, content, kind, len(images)) for kind in kinds)]


def _read_labels(path: Path, content: dict[str, Any], kind: Labels, count: int) -> np.ndarray:
    try:
        labels = np.array(content.get(kind.key)).astype(np.int64, casting="safe")
    except (TypeError, ValueError) as error:
        raise _wrong(path, f"{kind.key!r} should be a list of integers") from error
    if labels.shape != (count,) or count == 0:
        raise _wrong(path, f"there are {count} images and {labels.size} labels")
    if labels.min() < 0 or labels.max() >= kind.num_classes:
        raise _wrong(path, f"labels run from {labels.min()} to {labels.max()}, not 0 to {kind.num_classes - 1}")
    return labels


def _read_names(path: Path, kind: Labels) -> list[str]:
    names = load_pickle(path).get(kind.names_key)
    if not isinstance(names, list) or len(names) != kind.num_classes:
        raise _wrong(path, f"{kind.names_key!r} should be a list of {kind.num_classes} names")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _wrong(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is not a CIFAR file: {reason}; delete its folder and download it again")


# ---- pickles of arrays, read without running what else a pickle may hold


def load_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of NumPy arrays, lists, strings and numbers; nothing else in it is ever called.

    Raises:
        UserError: the file names any other object, or is damaged.
    """
    try:
        with open(path, "rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {error}): delete its folder and download it again"
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} holds a {type(content).__name__}, not a dictionary; delete its folder and download it again"
        )
    return {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()}


def _dtype(name: str, align: int = 0, copy: int = 0) -> np.dtype:
    # Old pickles give the two flags as integers, of which NumPy complains.
    return np.dtype(name, align=bool(align), copy=bool(copy))


def _encode(text: str, encoding: str) -> bytes:
    # How pickle protocols 0 to 2 write bytes; codecs.encode itself would run any codec.
    return text.encode("latin1")


# What rebuilds a NumPy array, by the names that NumPy 1 and 2 gave it. Containers, strings and numbers need no name.
_reconstruct = np.zeros(0).__reduce__()[0]
_frombuffer = np.zeros(0).__reduce_ex__(5)[0]
_ADMITTED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("_codecs", "encode"): _encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of an array, and was not run")
        return _ADMITTED[module, name]
