import hashlib
import os
import pickle
import tarfile
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision

import datasets
from datasets import cifar
from datasets.corrupted import open_files
from datasets.corrupted_sets import CORRUPTED
from tests.commands import ROOT, python
from tests.conftest import SUPERCLASS
from tests.mistakes import one_line, refused

# ---- reading


@pytest.mark.parametrize("release", [cifar.CIFAR10, cifar.CIFAR100])
def test_releases_are_those_that_torchvision_knows(release):
    known = getattr(torchvision.datasets, release.name.upper())
    assert release.url == known.url
    assert release.archive_md5 == known.tgz_md5
    assert release.folder == known.base_folder
    assert release.train == dict(known.train_list)
    assert release.test == dict(known.test_list)
    assert release.meta == {known.meta["filename"]: known.meta["md5"]}
    assert release.labels["fine"].names_key == known.meta["key"]


def test_cifar100_from_its_files(tmp_path, published):
    folder = published(tmp_path)
    data = datasets.cifar100(tmp_path)
    assert data.sizes == {"train": 200, "test": 100}
    assert data.num_classes == 100
    assert data.class_names[7] == "class7"
    assert (data.padding, data.flip, data.image_size) == (4, True, 32)
    images, labels = data.arrays("train")
    assert labels.tolist() == list(range(100)) * 2
    assert images[:, 0, 0, 0].tolist() == list(range(200))
    # a row of the file is 1,024 red, 1,024 green, 1,024 blue values, each row-major
    row = pickle.loads((folder / "train").read_bytes())["data"][13]
    assert images[13, 5, 9].tolist() == [row[5 * 32 + 9], row[1024 + 5 * 32 + 9], row[2048 + 5 * 32 + 9]]


def test_cifar10_joins_its_five_files(tmp_path, published):
    published(tmp_path, "cifar10")
    data = datasets.cifar10(str(tmp_path), val_split=20)
    assert data.sizes == {"train": 30, "val": 20, "test": 10}
    assert data.class_names == list("abcdefghij")
    assert data.arrays("val")[1].bincount().tolist() == [2] * 10
    train = torch.cat([data.arrays("train")[0], data.arrays("val")[0]])
    assert train[:, 3, 4, 1].bincount().tolist() == [10] * 5
    assert data.arrays("test")[0].unique().tolist() == [5]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_normalisation_is_that_of_the_cutmix_code(tmp_path, name, published):
    published(tmp_path, name)
    data = getattr(datasets, name)(tmp_path)
    images, _ = next(iter(data.eval_batches("test", 10)))
    raw = data.arrays("test")[0][:10].permute(0, 3, 1, 2).double()
    mean = torch.tensor([125.3, 123.0, 113.9]).double().view(3, 1, 1)
    std = torch.tensor([63.0, 62.1, 66.7]).double().view(3, 1, 1)
    torch.testing.assert_close(images.double(), (raw - mean) / std, rtol=0, atol=1e-6)


def test_files_as_the_publisher_wrote_them(tmp_path, published):
    pixels = bytes(range(256)) * 24
    # {'data': array, 'fine_labels': [7, 99]} as Python 2 pickled it with protocol 2: NumPy's old module name, the
    # dtype's flags as integers, pixels as a byte string
    stream = b"\x80\x02}q\x01(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    stream += b"(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
    stream += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    stream += b"T" + len(pixels).to_bytes(4, "little") + pixels + b"tb"
    stream += b"U\x0bfine_labels]q\x02(K\x07Kceu."
    folder = published(tmp_path, "cifar100", train=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images, labels = datasets.cifar100(tmp_path).arrays("train")
    assert images.permute(0, 3, 1, 2).numpy().tobytes() == pixels
    assert labels.tolist() == [7, 99]
    assert (folder / "train").read_bytes() == stream


# ---- what is refused


def test_missing_files(tmp_path, published):
    root = tmp_path / "nowhere"
    remedies = f"python scripts/download.py cifar100 --root {root}", "dataset.download=true"
    with refused(root / "cifar-100-python" / "train", *remedies):
        datasets.cifar100(root)
    folder = published(tmp_path, "cifar10")
    (folder / "data_batch_4").unlink()
    with refused(folder / "data_batch_4"):
        datasets.cifar10(tmp_path)


class Call:
    def __reduce__(self):
        return os.mkdir, ("canary",)


def test_a_file_of_another_md5_is_not_even_unpickled(tmp_path, published, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = published(tmp_path)
    bomb = pickle.dumps({"data": Call()})
    (folder / "test").write_bytes(bomb)
    with refused(folder / "test", hashlib.md5(bomb).hexdigest(), cifar.CIFAR100.test["test"]):
        datasets.cifar100(tmp_path)
    assert not (tmp_path / "canary").exists()


# ---- downloading


def test_download_fetches_what_is_missing_once(tmp_path, monkeypatch, published):
    folder = published(tmp_path / "source")
    archive = tmp_path / "cifar-100-python.tar.gz"
    with tarfile.open(archive, mode="w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(cifar, "CIFAR100", replace(cifar.CIFAR100, url=archive.as_uri(), archive_md5=md5))
    root = tmp_path / "new" / "data"
    data = datasets.cifar100(root, download=True)
    expected = datasets.cifar100(tmp_path / "source")
    assert data.fingerprint == expected.fingerprint
    assert {path.name for path in root.iterdir()} == {f".{archive.name}.lock", "cifar-100-python", archive.name}
    archive.unlink()
    datasets.cifar100(root, download=True)
    # the archive is kept, and serves when a file is lost
    (root / "cifar-100-python" / "test").unlink()
    assert datasets.cifar100(root, download=True).fingerprint == expected.fingerprint


# ---- the command


def test_the_command_finds_our_package_and_prints_one_sentence(tmp_path, published):
    (tmp_path / "datasets").mkdir()  # a package of the same name that comes first on the path
    (tmp_path / "datasets" / "__init__.py").write_text("raise ImportError('the wrong datasets')")
    published(tmp_path / "data")
    done = python(ROOT / "scripts" / "download.py", "cifar100", folder=tmp_path, PYTHONPATH=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    one_line(done.stderr.removesuffix("\n"), "data/cifar-100-python/train")


# ---- superclasses and balanced subsets


def test_coarse_labels_are_the_superclasses_of_the_same_images(tmp_path, published):
    published(tmp_path, per_class=4)
    fine, coarse = (datasets.cifar100(tmp_path, labels=kind, val_split=40) for kind in ("fine", "coarse"))
    assert (fine.num_classes, coarse.num_classes) == (100, 20)
    assert coarse.class_names == [f"superclass{i}" for i in range(20)]
    assert torch.equal(fine.arrays("test")[0], coarse.arrays("test")[0])
    assert coarse.arrays("test")[1].tolist() == SUPERCLASS[fine.arrays("test")[1].numpy()].tolist()
    assert coarse.arrays("val")[1].bincount().tolist() == [2] * 20  # held out in proportion to the superclasses
    assert coarse.fine_test_labels.tolist() == fine.fine_test_labels.tolist() == fine.arrays("test")[1].tolist()
    assert fine.fingerprint != coarse.fingerprint


def test_a_release_without_superclasses_says_so(tmp_path, published):
    published(tmp_path)
    with refused("dataset.labels=course", "coarse"):
        datasets.cifar100(tmp_path, labels="course")


@pytest.mark.parametrize("labels", ["fine", "coarse"])
def test_subsets_are_balanced_over_fine_classes_and_nested(tmp_path, labels, published):
    published(tmp_path, per_class=6)

    def subset(per_class, **options):
        return datasets.cifar100(tmp_path, labels=labels, per_class=per_class, **options)

    def seen(data, split="train"):
        return {image.numpy().tobytes() for image in data.arrays(split)[0]}

    sizes = [subset(count).arrays("train")[1].bincount().tolist() for count in (1, 2)]
    assert sizes == ([[1] * 100, [2] * 100] if labels == "fine" else [[5] * 20, [10] * 20])
    assert seen(subset(1)) < seen(subset(2)) < seen(subset(6)) == seen(subset(None))
    assert seen(subset(2)) == seen(subset(2))
    assert subset(2).sizes["test"] == 100
    held = subset(2, val_split=100)
    assert held.sizes == {"train": 200, "val": 100, "test": 100}
    assert not seen(held) & seen(held, "val")
    assert len({subset(count).fingerprint for count in (1, 2, None)}) == 3
    with refused("dataset.per_class=7", "1 to 6"):
        subset(7)


def test_each_seed_draws_a_subset_of_its_own_from_the_same_images(tmp_path, published):
    published(tmp_path, per_class=6)

    def subset(seed, per_class=2, subset="per_seed"):
        return datasets.cifar100(tmp_path, per_class=per_class, subset=subset, seed=seed)

    first, again, second = (subset(seed).arrays("train") for seed in (0, 0, 1))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], second[0])
    assert second[1].bincount().tolist() == [2] * 100
    assert subset(0).fingerprint == subset(1).fingerprint != subset(0, subset="fixed").fingerprint
    assert torch.equal(subset(0, subset="fixed").arrays("train")[0], subset(1, subset="fixed").arrays("train")[0])
    with refused("dataset.subset=mine", "per_seed"):
        subset(0, subset="mine")


def test_corrupted_files_hold_fine_labels_whatever_the_network_learns(tmp_path, published):
    published(tmp_path, test_per_class=2)
    fine, coarse = (datasets.cifar100(tmp_path, labels=kind) for kind in ("fine", "coarse"))
    folder = tmp_path / "CIFAR-100-C"
    folder.mkdir()
    np.save(folder / "labels.npy", np.tile(fine.arrays("test")[1].numpy(), 5))
    np.save(folder / "fog.npy", np.tile(fine.arrays("test")[0].numpy(), (5, 1, 1, 1)))
    for data in (fine, coarse):
        reader = open_files(CORRUPTED["cifar100_c"], folder, data)
        labels = torch.cat([labels for _, labels in reader.batches("fog", 3, 64)])
        assert torch.equal(labels, data.arrays("test")[1])


# ---- torchvision as a peer


class Unchecked(torchvision.datasets.CIFAR100):
    """Reads files whose md5 is not the publisher's."""

    def _check_integrity(self):
        return True


def test_images_are_those_that_torchvision_reads(tmp_path, monkeypatch, published):
    folder = published(tmp_path)
    md5 = hashlib.md5((folder / "meta").read_bytes()).hexdigest()
    monkeypatch.setattr(Unchecked, "meta", Unchecked.meta | {"md5": md5})
    data = datasets.cifar100(tmp_path)
    for split in ("train", "test"):
        theirs = Unchecked(tmp_path, train=split == "train")
        images, labels = data.arrays(split)
        assert np.array_equal(images.numpy(), theirs.data)
        assert labels.tolist() == theirs.targets
        assert data.class_names == theirs.classes
