"""Folders as they are published: ImageNet, Tiny-ImageNet, flat folders with a list of classes, no split at all."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from datasets import class_folders
from tests.mistakes import refused

KNOBS = {"workers": 0, "image_size": 16, "resize": 20}
CLASSES = ["n01", "n02", "n03"]


def write(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 20), (number, 0, 0)).save(path, "PNG")


def shown(data, split="test"):
    """{number that was written: class} of the images of a split."""
    (batch,) = data.image_batches(split, [range(data.sizes[split])])
    images, labels = batch
    return {int(image[0, 8, 8]): data.class_names[label] for image, label in zip(images, labels, strict=True)}


@pytest.fixture
def flat(tmp_path):
    """ImageNet's folders: train/<wnid>/, and in val/ 9 images of which number i is of class TRUTH[i]."""
    for label, name in enumerate(CLASSES):
        for i in range(4):
            write(tmp_path / "train" / name / f"{name}_{i}.JPEG", 100 + 10 * label + i)
    for number in range(9):
        write(tmp_path / "val" / f"ILSVRC2012_val_0000000{number + 1}.JPEG", number)
    return tmp_path


TRUTH = dict(enumerate(["n03", "n01", "n02", "n02", "n03", "n01", "n01", "n02", "n03"]))


def development_kit(root):
    """Numbers from 1 that follow another order than the names, and groups of classes behind the classes."""
    folder = root / "ILSVRC2012_devkit_t12" / "data"
    folder.mkdir(parents=True)
    number_of = {"n02": 1, "n03": 2, "n01": 3}
    kind = [("ILSVRC2012_ID", "i4"), ("WNID", "O"), ("num_children", "i4")]
    rows = [(number, name, 0) for name, number in number_of.items()] + [(4, "n00", 3)]
    scipy.io.savemat(folder / "meta.mat", {"synsets": np.array(rows, dtype=kind)})
    lines = [str(number_of[name]) for name in TRUTH.values()]
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("\n".join(lines) + "\n")


def kaggle(root):
    lines = [f"ILSVRC2012_val_0000000{i + 1},{name} 85 1 499 272 {name} 1 2 3 4" for i, name in TRUTH.items()]
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "\n".join(reversed(lines)) + "\n")


def tiny_imagenet(root):
    """train/<class>/images/ with boxes beside, val/images/ with a list, test/images/ without."""
    for name in CLASSES:
        folder = root / "train" / name
        files = list(folder.iterdir())
        (folder / "images").mkdir()
        for file in files:
            file.rename(folder / "images" / file.name)
        (folder / f"{name}_boxes.txt").write_text("x 0 0 1 1\n")
    (root / "val" / "images").mkdir()
    for file in (root / "val").glob("*.JPEG"):
        file.rename(root / "val" / "images" / file.name)
    lines = [f"ILSVRC2012_val_0000000{i + 1}.JPEG\t{name}\t0\t0\t62\t62\n" for i, name in TRUTH.items()]
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    write(root / "test" / "images" / "test_0.JPEG", 50)


def own_list(root):
    lines = [f"ILSVRC2012_val_0000000{i + 1}.JPEG {name}" for i, name in TRUTH.items()]
    (root / "val_labels.txt").write_text("\n".join(lines))


@pytest.mark.parametrize("published", [development_kit, kaggle, tiny_imagenet, own_list])
def test_flat_validation_images_get_the_classes_of_the_file(flat, published):
    published(flat)
    data = class_folders(flat, **KNOBS)
    assert data.sizes == {"train": 12, "test": 9}
    assert shown(data) == TRUTH
    assert {str(file.parent) for file in data.files("test")} == set(CLASSES)
    assert all(number // 10 - 10 == CLASSES.index(name) for number, name in shown(data, "train").items())
    held = class_folders(flat, val_split=3, **KNOBS)
    assert held.sizes == {"train": 9, "val": 3, "test": 9}
    shutil.rmtree(flat / "train")
    alone = class_folders(flat, **KNOBS)
    assert alone.sizes == {"test": 9}
    assert shown(alone) == TRUTH


def test_other_classes_are_other_data(flat):
    own_list(flat)
    before = class_folders(flat, **KNOBS).fingerprint
    path = flat / "val_labels.txt"
    path.write_text(path.read_text().replace("n01", "n02"))
    assert class_folders(flat, **KNOBS).fingerprint != before


def test_an_unlabelled_test_folder_is_ignored_beside_val(class_folder):
    root = class_folder()
    expected = class_folders(root, **KNOBS)
    for name in ("a.JPEG", "images/b.JPEG"):
        write(root / "test" / name, 1)
        data = class_folders(root, **KNOBS)
        assert (data.sizes, data.fingerprint) == (expected.sizes, expected.fingerprint)


def test_evaluation_needs_no_training_images(class_folder):
    root = class_folder()
    whole = class_folders(root, **KNOBS)
    shutil.rmtree(root / "train")
    data = class_folders(root, **KNOBS)
    assert data.class_names == whole.class_names
    assert data.files("test") == whole.files("test")
    with refused(root / "train"):
        data.train_batches(4, 0)
    with refused("val_split=2", root / "train"):
        class_folders(root, val_split=2, **KNOBS)


@pytest.mark.parametrize("inside", ["train", "."])
def test_images_without_a_split_are_split(tmp_path, inside):
    for label, name in enumerate(CLASSES):
        for i in range(10):
            write(tmp_path / inside / name / f"{i}.png", 10 * label + i)
    data = class_folders(tmp_path, val_split=6, **KNOBS)
    assert data.sizes == {"train": 24, "test": 6}
    train, test = shown(data, "train"), shown(data)
    assert train.keys() | test.keys() == set(range(30))
    assert not train.keys() & test.keys()
    assert sorted(test.values()) == sorted(CLASSES * 2)
    assert class_folders(tmp_path, val_split=6, **KNOBS).fingerprint == data.fingerprint
    assert all(len(file.parts) == 2 for file in data.files("test"))
    if inside == "train":
        with refused("val", "test", "dataset.val_split=N"):
            class_folders(tmp_path, **KNOBS)
        return
    whole = class_folders(tmp_path, **KNOBS)
    assert whole.sizes == {"test": 30}
    assert sorted(shown(whole)) == list(range(30))
    with refused("dataset.val_split=N"):
        whole.train_batches(4, 0)


def refuses(root, *words, **options):
    with refused(*words):
        class_folders(root, **KNOBS, **options)


@pytest.mark.parametrize(
    ("train", "evaluation"), [("Train", "Val"), ("Train", "test"), ("training", "validation"), ("TRAIN", "Testing")]
)
def test_other_spellings_of_the_splits(class_folder, train, evaluation):
    root = class_folder()
    expected = class_folders(root, **KNOBS)
    (root / "train").rename(root / train)
    (root / "val").rename(root / evaluation)
    data = class_folders(root, **KNOBS)
    assert (data.class_names, data.sizes) == (expected.class_names, expected.sizes)
    assert data.files("test") == expected.files("test")
    (root / "train").mkdir()
    refuses(root, train, "train")


@pytest.mark.parametrize("name", ["Train_set", "trainval", "dev", "test-images", "Holdout", "val2"])
def test_a_class_folder_that_is_named_like_a_split_is_refused(tmp_path, name):
    """Who obeyed the advice to hold out images would train a network that tells Train from Val."""
    write(tmp_path / name / "a" / "1.png", 1)
    write(tmp_path / "cat" / "1.png", 1)
    refuses(tmp_path, tmp_path / name, "split", val_split=1)
    (tmp_path / name).rename(tmp_path / "trainer")
    assert class_folders(tmp_path, **KNOBS).class_names == ["cat", "trainer"]


def test_classes_that_are_numbers_are_in_numerical_order(tmp_path):
    """As in ImageNet-V2, whose folders 0 to 999 are the outputs of a network: 10 is not class 2."""
    for number in (0, 1, 2, 9, 10, 11, 100):
        for split in ("train", "val"):
            write(tmp_path / split / str(number) / "1.png", number)
    data = class_folders(tmp_path, **KNOBS)
    assert data.class_names == ["0", "1", "2", "9", "10", "11", "100"]
    assert shown(data) == {number: str(number) for number in (0, 1, 2, 9, 10, 11, 100)}
    for split in ("train", "val"):
        write(tmp_path / split / "x" / "1.png", 1)
    assert class_folders(tmp_path, **KNOBS).class_names == ["0", "1", "10", "100", "11", "2", "9", "x"]


RED = {"1.png": "red", "a/1.png": "red fox", "a/2.png": "blue"}


@pytest.fixture
def colours(tmp_path):
    """Images that stand in two folders under one name, and classes of which one begins as another."""
    for number, name in enumerate(RED):
        write(tmp_path / "val" / "images" / name, number)
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "1.png,red\na/1.png,red fox\na/2,blue\n",
        "file;class\n1.png;red\nval/images/a/1.png;red fox\n2.png;blue\n2.png;blue\nelsewhere.png;green\n",
        '1.png red\n"a/1.png" "red fox"\na/2.png   blue ',
        "\ufeff1.png\tred\r\na/1.png\tred fox\r\n\r\na/2.png\tblue\r\n",
    ],
)
def test_lists_of_classes(colours, text):
    (colours / "val_labels.txt").write_bytes(text.encode())
    data = class_folders(colours, **KNOBS)
    assert data.class_names == ["blue", "red", "red fox"]
    assert shown(data) == dict(enumerate(RED.values()))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1.png red\na/1.png red fox\na/2.png blue", ["comma"]),
        ("1.png,red\na/1.png,red\n1.png,blue\na/2,blue", ["1.png", "red", "blue"]),
        ("1.png,red\na/1.png,red", ["a/2.png"]),
        ("1.png,red\na/1.png,red\nc.png,blue", ["a/2.png"]),
        ('1.png,"red\na/1.png,red\na/2.png,blue', []),
        ("1.png,red\n".encode("utf-16"), ["UTF-8"]),
        ("1.png,caf\xe9\na/1.png,red\na/2.png,blue".encode("latin-1"), ["UTF-8"]),
        (b"1.png,red\0", []),
        (b"", ["1.png"]),
    ],
)
def test_lists_that_are_refused(colours, text, words):
    (colours / "val_labels.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    refuses(colours, "val_labels.txt", *words)


def test_a_name_that_fits_two_images_is_refused(colours):
    write(colours / "val" / "images" / "2.jpg", 7)
    (colours / "val_labels.txt").write_text("1.png,red\na/1,red\n2,blue\n")
    refuses(colours, colours / "val/images/2.jpg", colours / "val/images/a/2.png")
    (colours / "val_labels.txt").write_text("1.png,red\na/1,red\n2.jpg,blue\na/2,green")
    assert shown(class_folders(colours, **KNOBS)) == {0: "red", 1: "red", 2: "green", 7: "blue"}


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.timeout(10)
def test_special_files_are_not_read(colours, kind):
    path = colours / "val_labels.txt"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    refuses(colours, path)


def test_unknown_layouts_say_what_to_do(flat, tmp_path):
    refuses(tmp_path / "nowhere", tmp_path / "nowhere", "dataset.root")
    refuses(flat, flat / "val_labels.txt")
    own_list(flat)
    path = flat / "val_labels.txt"
    path.write_text(path.read_text().replace("n02", "n09"))
    refuses(flat, "val_00000003.JPEG", "n09")
    path.unlink()
    development_kit(flat)
    write(flat / "val" / "ILSVRC2012_val_00000010.JPEG", 1)
    refuses(flat, "val_00000010.JPEG")


def test_fingerprints_of_ordinary_folders_never_change(class_folder):
    """Records and run directories hold them."""
    root = class_folder()
    assert class_folders(root, **KNOBS).fingerprint == "3b4d604aada9"
    assert class_folders(root, val_split=3, **KNOBS).fingerprint == "6cf9c5a8d3bf"
