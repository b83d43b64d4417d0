"""Which images of a folder belong to which split, and their labels.

A split is class folders, as in ``val/<class>/``, or one flat folder with a file that says the class of each image:
ImageNet's and Tiny-ImageNet's validation images are published so.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from datasets.label_files import DEVKIT, read_classes
from datasets.sampling import hold_out
from smoothmix.utils.errors import UserError
from smoothmix.utils.walk import subfolders, walk_files

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
SPELLINGS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
LIKE_A_SPLIT = re.compile(
    r"(train(ing|val)?|val(id|idation)?|dev|eval(uation)?|test(ing)?|hold_?out)[\W_]*(set|split|images)?[\W_\d]*", re.I
)

Images = tuple[np.ndarray, np.ndarray]  # paths (bytes) and labels (int64)


class Layout(NamedTuple):
    """The classes of a folder and its splits; there may be no "train".

    `flat`: the classes of the images to evaluate on come from a file.
    """

    class_names: list[str]
    splits: dict[str, Images]
    flat: bool = False


def find_images(root: Path, val_split: int) -> Layout:
    """Return the images of a data set.

    ``train/<class>/`` holds the training images, and ``val`` (ImageNet's name) or ``test`` those to evaluate on; one of
    them without labels is ignored beside the other. `SPELLINGS` of these names, in any case, are recognised. Without
    ``train`` the data set can only be evaluated. Without ``val`` and ``test`` the images of ``train/<class>/`` or
    ``<class>/`` are split, `val_split` of them to evaluate on; without a `val_split` all those of ``<class>/``.

    Classes are numbered in the sorted order of their names; where all are whole numbers, in numerical order.

    Raises:
        UserError: another layout, with what to change.
    """
    folder_of = _splits(root)
    train, evaluation = folder_of.get("train"), [role for role in ("val", "test") if role in folder_of]
    if not evaluation:
        return _split(train or root, root, val_split)
    class_names = class_folders_of(train) if train else None
    if class_names == []:
        raise UserError(f"{train} has no class folders: images belong in {train}/<class>/")
    found = {}
    for role in evaluation:
        if (images := _labelled(root, folder_of[role], role, class_names)) is not None:
            found[folder_of[role]] = images
    if len(found) > 1:
        raise UserError(f"{root} has both {' and '.join(path.name for path in found)}: move one of them away")
    if not found:
        flat = folder_of[evaluation[0]]
        raise UserError(
            f"{flat} has no class folders, and no file lists the classes of its images: give them in "
            f"{root / flat.name}_labels.txt, a line '<file> <class>' per image. ImageNet's development kit "
            f"({DEVKIT.parts[0]}/), Kaggle's LOC_val_solution.csv and Tiny-ImageNet's val_annotations.txt are read too"
        )
    ((folder, (names, test)),) = found.items()
    flat = not _has_class_folders(folder)
    if train is None:
        if val_split:
            raise UserError(f"val_split={val_split} images cannot be held out: there is no folder {root / 'train'}")
        return Layout(names, {"test": test}, flat)
    kept, held = _hold_out(list_images(train, names), val_split)
    return Layout(names, {"train": kept, **({"val": held} if val_split else {}), "test": test}, flat)


def _splits(root: Path) -> dict[str, Path]:
    """Return {"train", "val" or "test": its folder in `root`}."""
    role_of = {spelling: role for role, spellings in SPELLINGS.items() for spelling in spellings}
    found: dict[str, Path] = {}
    for name in subfolders(root) if root.is_dir() else ():
        role = role_of.get(name.lower())
        if role is not None and (first := found.setdefault(role, root / name)) != root / name:
            raise UserError(f"{root} has both {first.name} and {name}: move one of them away")
    return found


def class_folders_of(folder: Path) -> list[str]:
    """Return the names of the class folders in `folder`, in the order of their labels."""
    return in_order(subfolders(folder))


def in_order(names: Iterable[str]) -> list[str]:
    """Return class names sorted; numerically, where all are whole numbers, as in ImageNet-V2: class 10 is not 2."""
    names = sorted(names)
    numbers = all(name.isascii() and name.isdigit() for name in names)
    return sorted(names, key=int) if numbers else names


def list_images(folder: Path, class_names: list[str]) -> Images:
    """Return the images of class folders, sorted within each class.

    A NumPy array of bytes and not a list of strings: workers would copy a list page by page as they count references.
    """
    paths, labels = [], []
    for label, name in enumerate(class_names):
        images = _images(folder / name)
        if not images:
            raise UserError(
                f"the class folder {folder / name} holds no image ({' '.join(EXTENSIONS)}): fill it or remove the class"
            )
        paths += images
        labels += [label] * len(images)
    return _arrays(paths, labels)


def _split(folder: Path, root: Path, val_split: int) -> Layout:
    """Return the images of the class folders in `folder`, `val_split` of them to evaluate on."""
    if not root.is_dir() or not (names := class_folders_of(folder)):
        raise UserError(
            f"there are no class folders in {folder}: set dataset.root to the folder that holds train/<class>/ and "
            "val/<class>/; a class cannot be called train, val or test"
        )
    like_splits = [name for name in names if LIKE_A_SPLIT.fullmatch(name)]
    if like_splits and (folder == root or len(like_splits) == len(names)):
        raise UserError(
            f"the folder {folder / like_splits[0]} looks like a split, not like a class: call splits train, and val or "
            f"test (or set dataset.root={folder / like_splits[0]}, if its folders are the classes)"
        )
    if not val_split and folder == root:
        return Layout(names, {"test": list_images(folder, names)})
    if not val_split:
        raise UserError(
            f"{root} has neither val nor test: give dataset.val_split=N to evaluate on N of the images in {folder}"
        )
    kept, held = _hold_out(list_images(folder, names), val_split)
    return Layout(names, {"train": kept, "test": held})


def _hold_out(images: Images, count: int) -> tuple[Images, Images]:
    paths, labels = images
    kept, held = (part.numpy() for part in hold_out(torch.from_numpy(labels), count))
    return (paths[kept], labels[kept]), (paths[held], labels[held])


def _has_class_folders(folder: Path) -> bool:
    return subfolders(folder) not in ([], ["images"])


def _labelled(root: Path, folder: Path, role: str, class_names: list[str] | None) -> tuple[list[str], Images] | None:
    """Return the classes and images of a folder to evaluate on; None if nothing says the classes of its images.

    `class_names` are those of the training images, if there are any.
    """
    if _has_class_folders(folder):
        names = class_folders_of(folder)
        if class_names is not None and (differing := sorted({*names} ^ {*class_names})):
            shown = ", ".join(f"{n!r} (only in {'train' if n in class_names else folder.name})" for n in differing[:3])
            more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
            raise UserError(
                f"the class folders for training and in {folder} differ: {shown}{more}; both need the same classes"
            )
        return names, list_images(folder, names)
    images = _images(folder)
    if (classes := read_classes(root, folder, role, images)) is None:
        return None
    names = class_names or in_order({*classes})
    numbers = {name: number for number, name in enumerate(names)}
    for image, name in zip(images, classes, strict=True):
        if name not in numbers:
            raise UserError(f"{image} is of the class {name} in a file of labels, and train/ has no such class folder")
    return names, _arrays(images, [numbers[name] for name in classes])


def _images(folder: Path) -> list[str]:
    return sorted(path for path in walk_files(folder) if path.lower().endswith(EXTENSIONS))


def _arrays(paths: list[str], labels: list[int]) -> Images:
    return np.array([os.fsencode(path) for path in paths]), np.array(labels, dtype=np.int64)
