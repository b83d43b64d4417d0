"""Reproducible tests, the states of torch that surround a call, and a data set and a network small enough to train."""

import gc
import hashlib
import os
import pickle
import random
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import active_children, forkserver

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image
from torch import nn

from datasets import cifar
from datasets.in_memory import InMemoryData
from smoothmix.utils.command import kill

settings.register_profile("same examples", deadline=None, derandomize=True, database=None)
settings.register_profile("random exploration", deadline=None, max_examples=1000, print_blob=True)
EXPLORES = pytest.StashKey[bool]()
gc.disable()  # until all tests are imported: garbage collection would go through the libraries again and again


def pytest_configure(config):
    """The slow suite runs the property tests as well, and draws new examples each time."""
    config.stash[EXPLORES] = config.option.markexpr == "slow"
    settings.load_profile("random exploration" if config.stash[EXPLORES] else "same examples")


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_sessionfinish():
    """Kill the commands that failed tests left, for which Python would wait; wait for the server that forked them."""
    kill(active_children())
    forkserver._forkserver._stop()


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"CPU seconds of all processes: {sum(os.times()[:4]):.0f}")


def pytest_itemcollected(item):
    for marker in item.iter_markers("gpu"):
        if torch.cuda.device_count() < (needed := next(iter(marker.args), 1)):
            item.add_marker(pytest.mark.skip(reason=f"needs {needed} CUDA device{'s' * (needed > 1)}"))
    if item.config.stash[EXPLORES] and getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
        item.add_marker(pytest.mark.slow)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Whatever a test draws without a seed of its own is the same each time, and in any order of the tests."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@contextmanager
def _switched(get, change, value):
    before = get()
    change(value)
    try:
        yield
    finally:
        change(before)


SURROUNDINGS = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default dtype": lambda: _switched(torch.get_default_dtype, torch.set_default_dtype, torch.float64),
    "default device": lambda: torch.device("meta"),
    "inference mode": torch.inference_mode,
    "gradients": torch.enable_grad,
    "deterministic": lambda: _switched(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True
    ),
    "two threads": lambda: _switched(torch.get_num_threads, torch.set_num_threads, 2),
    "bfloat16 products": lambda: _switched(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"
    ),
}


@pytest.fixture(params=SURROUNDINGS)
def surroundings(request):
    """Return a context manager: a state of torch in which a call must give what it gives elsewhere."""
    with torch.no_grad(), _switched(torch.get_num_threads, torch.set_num_threads, 1):
        yield SURROUNDINGS[request.param]


@pytest.fixture
def tiny_data():
    """46 training, 23 test images of 8x8 in 4 classes; no number of ranks up to 5 divides the test set but 1."""

    def make(val_split=0, seed=0, **options):
        rng = np.random.default_rng(seed)

        def split(n):
            labels = np.arange(n) % 4
            images = rng.integers(0, 160, (n, 8, 8, 3), dtype=np.uint8)
            images[np.arange(n), labels * 2] += 90  # a bright row tells the class
            return images, labels

        options = {"padding": 1, "val_split": val_split} | options
        return InMemoryData(split(46), split(23), list("abcd"), (0.4,) * 3, (0.3,) * 3, **options)

    return make


@pytest.fixture
def tiny_model():
    """A network with BatchNorm and dropout, always initialised alike."""

    def make(seed=0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.Dropout(0.2),
                nn.AdaptiveAvgPool2d(4),
                nn.Flatten(),
                nn.Linear(128, 4),
            )

    return make


@pytest.fixture
def class_folder(tmp_path):
    """Return a function that writes train/ and val/ of small images in class folders and returns their root."""

    def make(classes=("ant", "bee", "cat"), train: int = 7, val: int = 3):
        rng = np.random.default_rng(1)
        for split, count in (("train", train), ("val", val)):
            for label, name in enumerate(classes):
                folder = tmp_path / split / name
                folder.mkdir(parents=True)
                for i in range(count):
                    height, width = rng.integers(20, 60, 2)
                    pixels = rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
                    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
                    image.save(folder / (f"{label}{i}.png" if i % 2 else f"{label}{i}.JPEG"))
        return tmp_path

    return make


SUPERCLASS = np.random.default_rng(5).permutation(np.repeat(np.arange(20), 5))  # of each fine class


@pytest.fixture
def published(monkeypatch):
    """Return a function that writes files of CIFAR with random pixels; their md5 are the publisher's in this process.

    Pixel (0, 0, red) of image i is i % 256 in CIFAR-100, and that of a file the file's number in CIFAR-10.
    """

    def contents_of_cifar100(per_class, test_per_class):
        rng = np.random.default_rng(0)
        for split, count in (("train", 100 * per_class), ("test", 100 * test_per_class)):
            flat = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
            flat[:, 0] = np.arange(count) % 256
            fine = np.arange(count) % 100
            yield split, {"data": flat, "fine_labels": fine.tolist(), "coarse_labels": SUPERCLASS[fine].tolist()}
        names = {"fine_label_names": [f"class{i}" for i in range(100)]}
        yield "meta", names | {"coarse_label_names": [f"superclass{i}" for i in range(20)]}

    def contents_of_cifar10():
        for i, name in enumerate([*cifar.CIFAR10.train, *cifar.CIFAR10.test]):
            yield name, {"data": np.full((10, 3072), i, np.uint8), "labels": list(range(10))}
        yield "batches.meta", {"label_names": list("abcdefghij")}

    def write(root, name="cifar100", per_class=2, test_per_class=1, **files):
        contents = contents_of_cifar10() if name == "cifar10" else contents_of_cifar100(per_class, test_per_class)
        files = {file: pickle.dumps(content) for file, content in contents} | files
        release = getattr(cifar, name.upper())
        (root / release.folder).mkdir(parents=True)
        for file, content in files.items():
            (root / release.folder / file).write_bytes(content)
        parts = {
            part: {file: hashlib.md5(files[file]).hexdigest() for file in getattr(release, part)}
            for part in ("train", "test", "meta")
        }
        monkeypatch.setattr(cifar, name.upper(), replace(release, **parts))
        return root / release.folder

    return write
