"""Readers of corrupted test sets, on small ones made by hand."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import corrupted
from datasets.corrupted import CorruptedArrays, CorruptedFolders
from smoothmix.utils.distributed import Ranks
from tests.mistakes import refused

N, SIDE = 23, 6
LABELS = torch.tensor([0, 0, 1, 1, 1, 1, 2])  # of the images in folders


@pytest.fixture
def arrays(tmp_path):
    """Write fog.npy and labels.npy; return (folder, labels, images (5, n, S, S, 3))."""
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (5, N, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.arange(N) % 10
    np.save(folder / "fog.npy", images.reshape(5 * N, SIDE, SIDE, 3))
    np.save(folder / "labels.npy", np.tile(labels, 5).astype(np.uint8))
    return folder, torch.tensor(labels), images


@pytest.fixture
def folders(tmp_path):
    """Write snow/<1..5>/<class>/ with 7 JPEG files a severity; return (folder, class names, pixels by severity)."""
    folder = tmp_path / "ImageNet-C"
    rng = np.random.default_rng(0)
    pixels = {severity: [] for severity in range(1, 6)}
    for severity in pixels:
        for name, count in (("n01", 2), ("n02", 4), ("n03", 1)):
            place = folder / "snow" / str(severity) / name
            place.mkdir(parents=True)
            for i in range(count):
                small = Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8))
                small.resize((224, 224)).save(place / f"ILSVRC2012_val_{i}.JPEG", quality=85)
                pixels[severity].append(np.array(Image.open(place / f"ILSVRC2012_val_{i}.JPEG")))
    return folder, ["n01", "n02", "n03"], {severity: np.stack(images) for severity, images in pixels.items()}


def dealt(readers, name, severity, batch_size):
    """Return the batches of all ranks in order: batch k is rank k % world_size's."""
    pairs = [reader.batches(name, severity, batch_size) for reader in readers]
    batches = [list(pair) for pair in pairs]
    for pair, of_one in zip(pairs, batches, strict=True):
        assert [*map(len, pair.pieces)] == [len(labels) for _, labels in of_one]
        assert [*map(len, pair.pieces)] == [len(labels) for _, labels in pair]  # again
    return [batches[k % len(readers)][k // len(readers)] for k in range(sum(map(len, batches)))]


def whole(batches):
    images, labels = (torch.cat(column) for column in zip(*batches, strict=True))
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    return images.permute(0, 2, 3, 1).numpy(), labels.tolist()


# ---- arrays


@pytest.mark.parametrize("batch_size", [1, 4, 23, 100])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_see_every_image_once_in_order(arrays, world_size, batch_size):
    folder, labels, images = arrays
    ranks = [Ranks(rank=rank, world_size=world_size) for rank in range(world_size)]
    readers = [CorruptedArrays(folder, labels, SIDE, one) for one in ranks]
    for severity in (1, 2, 5):
        batches = dealt(readers, "fog", severity, batch_size)
        assert [len(found) for _, found in batches[:-1]] == [batch_size] * (-(-N // batch_size) - 1)
        found, found_labels = whole(batches)
        assert np.array_equal(found, images[severity - 1])
        assert found_labels == labels.tolist()


def test_batches_can_be_read_again_and_its_batches_are_copies(arrays):
    folder, labels, images = arrays
    cell = CorruptedArrays(folder, labels, SIDE).batches("fog", 3, 10)
    for batch, _ in cell:
        batch.zero_()
    assert np.array_equal(next(iter(cell))[0].numpy(), images[2, :10].transpose(0, 3, 1, 2))


def test_elsewhere_a_severity_is_copied_at_once_and_the_labels_are_shared(arrays, monkeypatch):
    folder, labels, _ = arrays
    copies = []
    monkeypatch.setattr(corrupted.torch, "from_numpy", lambda array: copies.append(len(array)) or torch.tensor(array))
    device = torch.device("meta")
    reader = CorruptedArrays(folder, labels, SIDE, Ranks(device))
    for severity in (1, 4):
        cell = reader.batches("fog", severity, 10)
        batches = list(cell)
        assert all(labels._base is reader.labels for _, labels in batches)
        assert [tuple(images.shape) for images, _ in batches] == [(10, 3, SIDE, SIDE)] * 2 + [(3, 3, SIDE, SIDE)]
        assert {tensor.device for batch in batches for tensor in batch} == {device}
    assert copies == [N, N]


def test_files_are_mapped_and_not_read(tmp_path):
    n, side = 2_000, 224  # 1.5 GB, in a file with a hole
    np.save(tmp_path / "labels.npy", np.zeros(5 * n, np.uint8))
    array = np.lib.format.open_memmap(tmp_path / "fog.npy", "w+", np.uint8, (5 * n, side, side, 3))
    array[4 * n : 4 * n + 2] = 7
    del array
    reader = CorruptedArrays(tmp_path, torch.zeros(n), side)
    assert isinstance(reader._open(tmp_path / "fog.npy"), np.memmap)
    assert next(iter(reader.batches("fog", 5, 3)))[0][:, 0, 0, 0].tolist() == [7, 7, 0]


def test_missing_corruptions(arrays):
    folder, labels, _ = arrays
    reader = CorruptedArrays(folder, labels, SIDE)
    assert list(reader.missing(["snow", "fog", "frost"])) == ["snow", "frost"]
    with refused(folder / "snow.npy", f"python scripts/download.py cifar10_c --root {folder.parent}"):
        reader.batches("snow", 1, 10)
    with refused(folder / "nowhere" / "labels.npy", "python scripts"):
        CorruptedArrays(folder / "nowhere", labels, SIDE)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (np.zeros(5 * N - 1, np.int64), [(5 * N,), (5 * N - 1,)]),
        (np.zeros((5, N), np.int64), [(5 * N,), (5, N)]),
        (np.zeros(5 * N, np.float32), ["float32"]),
        (np.repeat(np.arange(N) % 10, 5), ["row 1", 0, 1]),
        (np.tile(np.arange(N) % 10, 5) + 256 * (np.arange(5 * N) == 100), ["row 100", 264, 8]),
    ],
)
def test_labels_of_another_test_set(arrays, found, words):
    folder, labels, _ = arrays
    np.save(folder / "labels.npy", found)
    with refused(folder / "labels.npy", *words):
        CorruptedArrays(folder, labels, SIDE)


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_damaged_and_hostile_arrays(arrays, tmp_path):
    folder, labels, images = arrays
    path, canary = folder / "fog.npy", tmp_path / "canary"
    whole = path.read_bytes()
    reader = CorruptedArrays(folder, labels, SIDE)

    def refuses(*words):
        with refused(path, "delete", f"python scripts/download.py cifar10_c --root {tmp_path}", *words):
            reader.batches("fog", 1, 10)
        assert not canary.exists()

    hostile = np.array([Canary(canary)] * 5, dtype=object)
    np.save(path, hostile, allow_pickle=True)
    refuses("object")
    path.write_bytes(pickle.dumps(hostile))
    refuses("pickle")
    pickle.loads(path.read_bytes())  # the canary can sing
    assert canary.exists()
    canary.unlink()
    np.savez(folder / "other.npz", fog=images)
    shutil.copy(folder / "other.npz", path)
    refuses("archive")
    for length in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refuses()
    path.write_bytes(whole[:20] + b"\xff" * 20 + whole[40:])
    refuses()
    for wrong in (images[:, 0], images.reshape(-1, SIDE, SIDE, 3)[:-1], images.reshape(-1, SIDE, SIDE, 3).astype("i4")):
        np.save(path, wrong)
        refuses("uint8", (5 * N, SIDE, SIDE, 3), wrong.dtype, wrong.shape)


@pytest.mark.parametrize("severity", [0, 6, "1"])
def test_another_severity(arrays, folders, severity):
    folder, labels, _ = arrays
    with refused("severity", severity, error=ValueError):
        CorruptedArrays(folder, labels, SIDE).batches("fog", severity, 10)
    with refused("severity", severity, error=ValueError):
        CorruptedFolders(folders[0], folders[1], LABELS, 0).batches("snow", severity, 10)


def test_where_the_files_came_from(arrays):
    folder, labels, _ = arrays
    assert CorruptedArrays(folder, labels, SIDE).source == "published files"
    assert CorruptedFolders(folder, [], LABELS, 0).source == "published files"
    note = folder / "generated.json"
    note.write_text(json.dumps({"seed": 3, "version": "1"}))
    reader = CorruptedArrays(folder, labels, SIDE)
    assert reader.source == "generated files (seed 3)"
    assert CorruptedFolders(folder, [], LABELS, 0).source == "generated files (seed 3)"
    with refused(folder / "snow.npy", "scripts/make_corruptions.py"):
        reader.batches("snow", 1, 10)
    note.write_text(json.dumps({"seed": 3, "device_type": "cuda"}))  # drew other numbers than a CPU
    assert CorruptedArrays(folder, labels, SIDE).source == "generated files (seed 3, on a GPU)"
    for damaged in (b"{", b"[]", b"{}", b"3", b"\xff"):
        note.write_bytes(damaged)
        with refused(note, "seed"):
            CorruptedArrays(folder, labels, SIDE)


# ---- folders


@pytest.mark.parametrize(("world_size", "workers"), [(1, 0), (2, 0), (3, 0), (1, 2)])
def test_folders_by_rank(folders, world_size, workers):
    folder, names, pixels = folders
    ranks = [Ranks(rank=rank, world_size=world_size) for rank in range(world_size)]
    readers = [CorruptedFolders(folder, names, LABELS, workers, one) for one in ranks]
    for severity in (1, 5):
        batches = dealt(readers, "snow", severity, 2)
        assert [len(found) for _, found in batches] == [2, 2, 2, 1]
        found, labels = whole(batches)
        assert np.array_equal(found, pixels[severity])
        assert labels == LABELS.tolist()


def test_images_lie_in_the_order_of_flat_clean_ones(folders):
    folder, names, pixels = folders
    labels = torch.tensor([1, 2, 0, 1, 1, 0, 1])
    (batch,) = CorruptedFolders(folder, names, labels, 0).batches("snow", 3, 7)
    assert torch.equal(batch[1], labels)
    assert np.array_equal(batch[0].permute(0, 2, 3, 1).numpy(), pixels[3][[2, 6, 0, 3, 4, 1, 5]])


def test_workers_end_with_their_batches(folders, monkeypatch):
    loaders = []

    def keeping(*arguments):
        loaders.append(make_loader(*arguments))
        return loaders[-1]

    make_loader = corrupted.make_loader
    monkeypatch.setattr(corrupted, "make_loader", keeping)
    cell = CorruptedFolders(folders[0], folders[1], LABELS, 1).batches("snow", 1, 2)
    batches = iter(cell)
    next(batches)
    (worker,) = loaders[0]._iterator._workers
    assert worker.is_alive()
    batches.close()
    assert not worker.is_alive()


def test_missing_folders(folders):
    folder, names, _ = folders
    reader = CorruptedFolders(folder, names, LABELS, 0)
    assert list(reader.missing(["fog", "snow"])) == ["fog"]
    with refused(folder / "fog" / "1", "scripts/download.py imagenet_c --root"):
        reader.batches("fog", 1, 2)
    shutil.rmtree(folder / "snow" / "4")
    assert list(reader.missing(["snow"])) == ["snow"]


def test_folders_of_other_classes(folders):
    folder, names, _ = folders
    reader = CorruptedFolders(folder, names, LABELS, 0)
    (folder / "snow" / "1" / ".hidden").mkdir()
    reader.batches("snow", 1, 2)
    (folder / "snow" / "1" / "n04").mkdir()
    with refused("snow/1", "'n04'"):
        reader.batches("snow", 1, 2)
    shutil.rmtree(folder / "snow" / "2" / "n01")
    with refused("snow/2", "'n01'", folder / "snow"):
        reader.batches("snow", 2, 2)


def test_severities_that_are_not_complete(folders):
    folder, names, _ = folders
    reader = CorruptedFolders(folder, names, LABELS, 0)
    reader.batches("snow", 1, 2)
    next((folder / "snow" / "3" / "n02").iterdir()).unlink()
    with refused("snow/3", 6, 7):
        reader.batches("snow", 3, 2)


@pytest.mark.parametrize("workers", [0, 1])
def test_images_that_are_not_as_published(folders, workers):
    folder, names, _ = folders
    path = folder / "snow" / "1" / "n02" / "ILSVRC2012_val_1.JPEG"
    cell = CorruptedFolders(folder, names, LABELS, workers).batches("snow", 1, 2)
    Image.new("RGB", (256, 224)).save(path)
    with refused(path, "256x224"):
        list(cell)
    path.write_bytes(path.read_bytes()[:200])
    with refused(path):
        list(cell)
    with refused("workers=-1"):
        CorruptedFolders(folder, names, LABELS, -1)
