"""Files that say the class of each image of a flat folder: ImageNet's, Kaggle's, Tiny-ImageNet's, and one's own."""

import csv
import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from smoothmix.utils.errors import UserError
from smoothmix.utils.files import read_text

DEVKIT = Path("ILSVRC2012_devkit_t12", "data")


def read_classes(root: Path, folder: Path, role: str, images: list[str]) -> list[str] | None:
    """Return the class of each of the `images` of `folder`, a split of the data set `root`; None if no file has them.

    A line of a file names an image by its path in `folder` or `root`, or by its name alone, with or without suffix.

    Raises:
        UserError: an image has no line or lines that disagree, a line fits several images, or the file is damaged.
    """
    own, tiny = root / f"{folder.name}_labels.txt", folder / f"{folder.name}_annotations.txt"
    kaggle = root / "LOC_val_solution.csv"
    if tiny.is_file():
        path, lines = tiny, [(row[0], row[1]) for row in _rows(tiny, "\t", 6)]
    elif own.is_file():
        path, lines = own, [(row[0], row[1]) for row in _rows(own, "\t,; ", 2)]
    elif role == "val" and kaggle.is_file():
        path, lines = kaggle, [(row[0], row[1].split(" ")[0]) for row in _rows(kaggle, ",", 2)]
    elif role == "val" and (root / DEVKIT).is_dir():
        path, lines = root / DEVKIT, _devkit(root / DEVKIT)
    else:
        return None
    return _classes(path, lines, images, (folder / "images", folder, root))


def _classes(path: Path, lines: Iterable[tuple[str, str]], images: list[str], bases: Iterable[Path]) -> list[str]:
    """Return the class of each image by the (name, class) of `path`."""
    by_path, by_name = defaultdict(list), defaultdict(list)
    for image in images:
        exact = {os.path.relpath(image, base) for base in bases}
        for known in exact:
            by_path[known].append(image)
        bare = os.path.basename(image)
        for known in {bare, *(os.path.splitext(one)[0] for one in (bare, *exact))}:
            by_name[known].append(image)
    class_of: dict[str, str] = {}
    for name, label in lines:
        named = by_path.get(name) or by_name.get(name, [])
        if len(named) > 1:
            raise UserError(f"{name} in {path} may be {named[0]} or {named[1]}: give their paths there")
        if named and class_of.setdefault(named[0], label) != label:
            raise UserError(f"{path} gives {named[0]} two classes, {class_of[named[0]]} and {label}: correct that file")
    if missing := [image for image in images if image not in class_of]:
        raise UserError(f"{missing[0]} has no line in {path}, the file that lists the classes: correct that file")
    return [class_of[image] for image in images]


def _rows(path: Path, delimiters: str, columns: int) -> list[list[str]]:
    """Return the lines of a file as `columns` values, separated by the first of the `delimiters` that gives so many."""
    try:
        lines = [stripped for line in read_text(path).split("\n") if (stripped := line.strip(" \r"))]
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({error}): save it as UTF-8 text, a line per image") from error
    for delimiter in delimiters:
        with suppress(csv.Error):
            rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True))
            if all(len(row) == columns for row in rows):
                return [[value.strip() for value in row] for row in rows]
    raise UserError(
        f"a line of {path} is not an image and its class: separate them by a comma, and put a name with a comma, or a "
        "quote, in double quotes"
    )


def _devkit(devkit: Path) -> list[tuple[str, str]]:
    """Return (name, class) of ImageNet's validation images: line i of the development kit is the i-th one's number."""
    from scipy.io import loadmat

    synsets = loadmat(devkit / "meta.mat", squeeze_me=True)["synsets"]
    name_of = {str(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    numbers = read_text(devkit / "ILSVRC2012_validation_ground_truth.txt").split()
    return [(f"ILSVRC2012_val_{place:08d}", name_of[number]) for place, number in enumerate(numbers, start=1)]
