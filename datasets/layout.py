"""Which images of a folder belong to which split, and their labels.

A split is class folders, as in ``val/<class>/``, or one flat folder with a file that says the class of each image:
ImageNet's and Tiny-ImageNet's validation images are published so.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from datasets.sampling import hold_out
from smoothmix.utils.errors import UserError
from smoothmix.utils.walk import subfolders, walk_files

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
DEVKIT = Path("ILSVRC2012_devkit_t12", "data")

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
    them without labels is ignored beside the other. Without ``train`` the data set can only be evaluated. Without
    ``val`` and ``test`` the images of ``train/<class>/`` or ``<class>/`` are split, `val_split` of them to evaluate on;
    with a `val_split` of 0, those of ``<class>/`` are all to evaluate on.

    Raises:
        UserError: another layout, with what to change.
    """
    train = root / "train"
    evaluation = [root / name for name in ("val", "test") if (root / name).is_dir()]
    if not evaluation:
        return _split(train if train.is_dir() else root, root, val_split)
    class_names = subfolders(train) if train.is_dir() else None
    if class_names == []:
        raise UserError(f"{train} has no class folders: images belong in {train}/<class>/")
    found = {folder: images for folder in evaluation if (images := _labelled(root, folder, class_names)) is not None}
    if len(found) > 1:
        raise UserError(f"{root} has both val and test: move away the one that should not be evaluated")
    if not found:
        raise UserError(
            f"{evaluation[0]} has no class folders, and no file lists the classes of its images: give them in "
            f"{root / evaluation[0].name}_labels.txt, a line '<file> <class>' per image. ImageNet's development kit "
            f"({DEVKIT.parts[0]}/), Kaggle's LOC_val_solution.csv and Tiny-ImageNet's val_annotations.txt are read too"
        )
    ((folder, (names, test)),) = found.items()
    flat = not _has_class_folders(folder)
    if class_names is None:
        if val_split:
            raise UserError(f"val_split={val_split} images cannot be held out: there is no folder {train}")
        return Layout(names, {"test": test}, flat)
    kept, held = _hold_out(list_images(train, names), val_split)
    return Layout(names, {"train": kept, **({"val": held} if val_split else {}), "test": test}, flat)


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
    if not root.is_dir() or not (names := subfolders(folder)):
        raise UserError(
            f"there are no images in {root}: set dataset.root to the folder that holds train/<class>/ and val/<class>/"
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


def _labelled(root: Path, folder: Path, class_names: list[str] | None) -> tuple[list[str], Images] | None:
    """Return the classes and images of a folder to evaluate on; None if nothing says the classes of its images.

    `class_names` are those of the training images, if there are any.
    """
    if _has_class_folders(folder):
        names = subfolders(folder)
        if class_names is not None and (differing := sorted({*names} ^ {*class_names})):
            shown = ", ".join(f"{n!r} (only in {'train' if n in class_names else folder.name})" for n in differing[:3])
            more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
            raise UserError(
                f"the class folders of {root / 'train'} and {folder} differ: {shown}{more}; both need the same classes"
            )
        return names, list_images(folder, names)
    images = _images(folder)
    if (class_of := _read_classes(root, folder, images)) is None:
        return None
    names = class_names or sorted(set(class_of.values()))
    numbers = {name: number for number, name in enumerate(names)}
    for image in images:
        if (name := class_of.get(_stem(image))) not in numbers:
            flaw = "has no line" if name is None else f"has the class {name}, which has no folder in train,"
            raise UserError(f"{image} {flaw} in the file that lists the classes of {folder}: correct that file")
    return names, _arrays(images, [numbers[class_of[_stem(image)]] for image in images])


def _read_classes(root: Path, folder: Path, images: list[str]) -> dict[str, str] | None:
    """Return {file name without suffix: class} as a file says that lies beside the images, or None if there is none."""
    candidates = [folder / f"{folder.name}_annotations.txt", root / f"{folder.name}_labels.txt"]
    candidates += [root / "LOC_val_solution.csv"] * (folder.name == "val")
    for path in candidates:
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            words = [re.split(r"[,\s]+", line.strip()) for line in lines if line.strip()]
            return {_stem(word[0]): word[1] for word in words if len(word) > 1}
    if folder.name == "val" and (root / DEVKIT).is_dir():
        return _read_devkit(root / DEVKIT, images)
    return None


def _read_devkit(devkit: Path, images: list[str]) -> dict[str, str]:
    """Return {file name without suffix: class} from ImageNet's development kit: line i is the i-th image's number."""
    from scipy.io import loadmat

    synsets = loadmat(devkit / "meta.mat", squeeze_me=True)["synsets"]
    name_of = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    truth = devkit / "ILSVRC2012_validation_ground_truth.txt"
    numbers = truth.read_text(encoding="utf-8").split()
    if len(numbers) != len(images):
        raise UserError(f"{truth} has {len(numbers)} lines, but there are {len(images)} images; complete them")
    return {_stem(image): name_of[int(number)] for image, number in zip(images, numbers, strict=True)}


def _images(folder: Path) -> list[str]:
    return sorted(path for path in walk_files(folder) if path.lower().endswith(EXTENSIONS))


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _arrays(paths: list[str], labels: list[int]) -> Images:
    return np.array([os.fsencode(path) for path in paths]), np.array(labels, dtype=np.int64)
