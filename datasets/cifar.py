"""CIFAR-10 and CIFAR-100 from the Python files that their author publishes, in torchvision's folder layout."""

import hashlib
import pickle
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datasets.download import Archive, fetch
from datasets.image_augment import check_augment
from datasets.in_memory import InMemoryData
from smoothmix.utils.command import shell_command
from smoothmix.utils.errors import UserError

# Of both data sets, as in the CutMix code: the numbers of CIFAR-10's training images.
MEAN = (125.3 / 255, 123.0 / 255, 113.9 / 255)
STD = (63.0 / 255, 62.1 / 255, 66.7 / 255)


class Labels(NamedTuple):
    """One of the kinds of labels of a release: their key in a file, and that of their names."""

    key: str
    names_key: str


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
    labels={"fine": Labels("labels", "label_names")},
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
        "fine": Labels("fine_labels", "fine_label_names"),
        "coarse": Labels("coarse_labels", "coarse_label_names"),
    },
)


def cifar10(
    root: str | Path,
    download: bool = False,
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
        val_split, augment, workers, per_class, subset, seed: see :class:`datasets.in_memory.InMemoryData`.

    Raises:
        UserError: files that are missing or have another md5 than the publisher's, an `augment` of another name, or
            more images per class than there are.
    """
    options = {"val_split": val_split, "augment": augment, "workers": workers}
    options |= {"per_class": per_class, "subset": subset, "seed": seed}
    return _load(CIFAR10, Path(root).expanduser(), download, "fine", options)


def cifar100(
    root: str | Path,
    download: bool = False,
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
    return _load(CIFAR100, Path(root).expanduser(), download, labels, options)


def read_files(release: Release, root: Path) -> dict[str, dict[str, Any]]:
    """Return {name: content} of every file of `release`.

    Raises:
        UserError: one has another md5 than the publisher's. It is not unpickled, which could run anything.
    """
    folder, contents = root / release.folder, {}
    for name, expected in (release.train | release.test | release.meta).items():
        content = (folder / name).read_bytes()
        if (found := hashlib.md5(content).hexdigest()) != expected:
            raise UserError(
                f"{folder / name} has the md5 {found}, the publisher's file {expected}: delete {folder} and "
                f"{_download(release, root)}"
            )
        with warnings.catch_warnings(action="ignore"):  # NumPy's, about an array that Python 2 pickled
            contents[name] = pickle.loads(content, encoding="latin1")
    return contents


def _download(release: Release, root: Path) -> str:
    return f"get it with `{shell_command(['python', 'scripts/download.py', release.name, '--root', root])}`"


def _load(release: Release, root: Path, download: bool, kind: str, options: dict[str, Any]) -> InMemoryData:
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
    files = read_files(release, root)
    fine, labels = release.labels["fine"], release.labels[kind]

    def split(names: Iterable[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return images (n, 3, 32, 32) uint8, labels (n,) and fine labels (n,), int64."""
        parts = [files[name] for name in names]
        images = np.concatenate([part["data"] for part in parts]).reshape(-1, 3, 32, 32)
        numbers = (np.concatenate([part[one.key] for part in parts]).astype(np.int64) for one in (labels, fine))
        return images, *numbers

    (train, train_labels, train_fine), (test, test_labels, test_fine) = split(release.train), split(release.test)
    return InMemoryData(
        (train, train_labels),
        (test, test_labels),
        class_names=files[next(iter(release.meta))][labels.names_key],
        mean=MEAN,
        std=STD,
        fine_labels=(train_fine, test_fine),
        **options,
    )
