import io
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as TF

from datasets import augment, class_folders
from datasets.folder import IMAGENET_MEAN, IMAGENET_STD
from datasets.sampling import epoch_order
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.numerics import derive_seed
from tests.batches import epoch_of
from tests.datasets.test_in_memory import collect
from tests.mistakes import refused

SMALL = {"image_size": 16, "resize": 20}


def sorted_paths(root: Path, split: str) -> list[Path]:
    return sorted((path for path in (root / split).rglob("*") if path.is_file()), key=lambda path: (path.parent, path))


# ---- what the folders hold


def test_nested_images_count_and_other_files_do_not(class_folder):
    root = class_folder()
    (root / "train" / "bee" / "more" / "and more").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(root / "train" / "bee" / "more" / "and more" / "x.PNG")
    (root / "train" / "bee" / "notes.txt").write_text("not an image")
    (root / "train" / "bee" / "._x.png").write_bytes(b"what a Mac leaves behind")
    (root / "train" / ".cache").mkdir()
    data = class_folders(root, workers=0, **SMALL)
    assert data.sizes == {"train": 22, "test": 9}
    assert data.num_classes == 3


def test_fingerprint(class_folder, tmp_path):
    root = class_folder()
    first = class_folders(root, workers=0, **SMALL).fingerprint
    assert class_folders(root, workers=1).fingerprint == first
    assert class_folders(root, workers=0, val_split=3).fingerprint != first
    path = root / "train" / "bee" / "10.JPEG"
    content = path.read_bytes()
    path.write_bytes(content + b"x")  # another picture under the same name
    assert class_folders(root, workers=0, **SMALL).fingerprint != first
    path.write_bytes(content)
    assert class_folders(root, workers=0, **SMALL).fingerprint == first
    Image.new("RGB", (8, 8)).save(root / "train" / "bee" / "new.png")
    assert class_folders(root, workers=0, **SMALL).fingerprint != first


def test_held_out_images(class_folder):
    data = class_folders(class_folder(), workers=0, val_split=6, **SMALL)
    assert data.sizes == {"train": 15, "val": 6, "test": 9}
    assert collect(data.eval_batches("val", 4))[1].tolist() == [0, 0, 1, 1, 2, 2]
    labels = collect(epoch_of(data.train_batches(4, 0), 0))[1]
    assert labels.bincount().tolist() == [5, 5, 5]


def test_folders_that_are_refused(class_folder):
    root = class_folder()

    def refuses(*words, **options):
        with refused(*words):
            class_folders(root, workers=0, **SMALL, **options)

    refuses(3, 4, num_classes=4)
    refuses("val_split=21", "0 to 20", val_split=21)
    shutil.copytree(root / "val", root / "test")
    refuses("val", "test")
    shutil.rmtree(root / "test")
    (root / "val" / "dog").mkdir()
    (root / "val" / "cat").rename(root / "val" / "cow")
    refuses("'cat'", "'cow'", "'dog'")
    for name in "efg":
        (root / "val" / name).mkdir()
    refuses("'cat'", "'cow'", "'dog'", "3 more")


def test_empty_classes(class_folder):
    root = class_folder()
    for folder in (root / "train", root / "val"):
        (folder / "aaa").mkdir()
    with refused(root / "val" / "aaa"):
        class_folders(root, workers=0, **SMALL)
    (root / "empty" / "train").mkdir(parents=True)
    (root / "empty" / "val").mkdir()
    with refused(root / "empty"):
        class_folders(root / "empty", workers=0, **SMALL)


# ---- training batches


def test_training_images_are_the_slow_pipeline_on_the_same_numbers(class_folder):
    root, seed, epoch = class_folder(), 11, 3
    data = class_folders(root, workers=0, **SMALL)
    paths = sorted_paths(root, "train")
    batches = list(epoch_of(data.train_batches(8, seed), epoch))
    assert all(images.is_contiguous(memory_format=torch.channels_last) for images, _ in batches)
    images, labels = collect(batches)
    order = epoch_order(21, seed, epoch)
    flipped = 0
    for got, label, index in zip(images, labels, order, strict=True):
        assert paths[index].parent.name == data.class_names[label]
        stream = torch.Generator().manual_seed(derive_seed(seed, "item", epoch, index))
        image = Image.open(paths[index]).convert("RGB")
        box = augment.draw_resized_crop(image.height, image.width, (0.08, 1.0), (3 / 4, 4 / 3), stream)
        image = TF.resized_crop(image, *box, [16, 16])
        if torch.rand((), generator=stream) < 0.5:
            image, flipped = TF.hflip(image), flipped + 1
        operations, factors, alphas = augment.draw_color(0.4, 0.1, stream)
        pixels = TF.to_tensor(image).double()
        for operation in operations.tolist():
            grey = (pixels * torch.tensor([0.299, 0.587, 0.114]).double().view(3, 1, 1)).sum(0)
            reference = (torch.tensor(0.0), grey.mean(), grey)[operation]
            pixels = factors[operation] * pixels + (1 - factors[operation]) * reference
        vectors, values = torch.tensor(augment.EIGENVECTORS), torch.tensor(augment.EIGENVALUES)
        pixels = pixels + (vectors @ (values * alphas)).view(3, 1, 1)
        expected = TF.normalize(pixels, IMAGENET_MEAN, IMAGENET_STD).float()
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-5)
    assert 3 <= flipped <= 18


def test_options_reach_the_images(class_folder):
    root = class_folder()
    plain = {"scale": (1, 1), "ratio": (0.01, 100), "flip": False, "jitter": 0, "lighting": 0}

    def images(**options):
        data = class_folders(root, workers=0, **SMALL, **{**plain, **options})
        return collect(epoch_of(data.train_batches(21, 0), 0))[0]

    base = images()
    assert torch.equal(base, images())
    for option in ({"scale": (0.2, 0.3)}, {"ratio": (1, 1)}, {"flip": True}, {"jitter": 0.4}, {"lighting": 0.1}):
        assert not torch.allclose(base, images(**option), atol=1e-3), option


def test_every_image_once_per_epoch_and_epochs_and_seeds_differ(folder_root):
    data, places = class_folders(folder_root, workers=0, **SMALL), [(2, 0), (2, 1), (3, 0)]
    runs = [list(epoch_of(data.train_batches(6, seed), epoch)) for seed, epoch in places]
    assert [len(labels) for _, labels in runs[0]] == [6, 6, 6, 3]
    assert all(collect(batches)[1].bincount().tolist() == [7, 7, 7] for batches in runs)
    assert len({tuple(epoch_order(21, *place)) for place in places}) == 3
    first, *others = (collect(batches)[0].flatten(1) for batches in runs)
    assert min(torch.cdist(first, other).min() for other in others) > 0.1


def test_nobody_elses_folders_become_images(class_folder):
    root = class_folder()
    expected = class_folders(root, workers=0)
    for split in ("train", "val"):
        for name in (".ipynb_checkpoints", "@eaDir", ".snapshot"):
            shutil.copytree(root / split / "bee", root / split / "ant" / name)
        (root / split / "ant" / "ant").symlink_to(".")
        (root / split / "ant" / "all").symlink_to("..")
    found = class_folders(root, workers=0)
    assert found.sizes == expected.sizes == {"train": 21, "test": 9}
    assert found.fingerprint == expected.fingerprint


@pytest.mark.parametrize(("workers", "world_size"), [(0, 1), (0, 2), (0, 3), (2, 2)])
def test_evaluation_covers_every_image_once(folder_root, workers, world_size):
    data = class_folders(folder_root, workers=workers, **SMALL)
    paths = sorted_paths(folder_root, "val")
    expected = [
        TF.normalize(TF.to_tensor(TF.center_crop(TF.resize(Image.open(p), 20), [16, 16])), IMAGENET_MEAN, IMAGENET_STD)
        for p in paths
    ]
    for rank in range(world_size):
        batches = data.eval_batches("test", 5, Ranks(rank=rank, world_size=world_size))
        for _ in range(2):
            images, labels = collect(batches)
            assert labels.tolist() == [i // 4 for i in range(rank, 12, world_size)]
            torch.testing.assert_close(images, torch.stack(expected[rank::world_size]), rtol=0, atol=1e-6)


def test_image_batches_are_cropped_pixels(folder_root):
    data = class_folders(folder_root, workers=0, **SMALL)
    crops = [
        TF.pil_to_tensor(TF.center_crop(TF.resize(Image.open(path), 20), [16, 16]))
        for path in sorted_paths(folder_root, "val")
    ]
    (images, labels), (last, _) = data.image_batches("test", [range(2, 6), range(11, 12)])
    assert torch.equal(images, torch.stack(crops[2:6]))
    assert labels.tolist() == [0, 0, 1, 1]
    assert torch.equal(last[0], crops[11])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_a_damaged_image_is_named(class_folder, workers, damage):
    root = class_folder()
    path = root / "train" / "bee" / "broken.jpg"
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(buffer, "JPEG")
    path.write_bytes({"truncated": buffer.getvalue()[:-500], "empty": b"", "text": b"<html>not found</html>"}[damage])
    data = class_folders(root, workers=workers, **SMALL)
    batches = data.train_batches(4, seed=0)
    with refused(path):
        list(epoch_of(batches, 0))
    del batches
    assert not multiprocessing.active_children()
    (root / "val" / "bee" / "broken.jpg").write_bytes(path.read_bytes())
    with refused(root / "val" / "bee" / "broken.jpg"):
        list(class_folders(root, workers=workers, **SMALL).eval_batches("test", 4))


@pytest.mark.parametrize("kind", ["loop", "broken", "pipe"])
def test_what_is_no_file_is_refused_before_a_worker_reads_it(class_folder, kind):
    root = class_folder()
    path = root / "val" / "bee" / "x.png"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to({"loop": "x.png", "broken": "nowhere"}[kind])
    with refused(path):
        class_folders(root, workers=0, **SMALL)
