"""scripts/benchmark.py input: the pipelines it compares, and its table."""

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.folder import IMAGENET_MEAN, IMAGENET_STD
from scripts.benchmarks import input_peers


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(3):
            pixels = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
            pixels.resize((120 + i, 90)).save(tmp_path / "images" / name / f"{i}.jpg")
    return tmp_path / "images"


def test_both_kinds_of_input_are_timed(published, folder, tmp_path, benchmarked):
    published(tmp_path, per_class=3)
    threads = torch.get_num_threads()
    options = ["--steps", 2, "--repeats", 1, "--threads", threads]
    record, page = benchmarked("input", "--cifar", tmp_path, "--folder", folder, *options)
    sizes = {group: len(rates) for group, rates in record["us_per_image"].items()}
    groups = ("CIFAR-100, training", "Folder, training", "Folder, evaluation", "Stages of training on the folder")
    assert sizes == dict(zip(groups, (3, 4, 3, 14), strict=True))
    every = [times for rates in record["us_per_image"].values() for times in rates.values()]
    assert all(len(times) == 1 and times[0] > 0 for times in every)
    assert "| ours: a worker's part |" in page


def test_the_usual_evaluation_is_ours(folder, tmp_path, monkeypatch):
    root = tmp_path / "links"
    root.mkdir()
    input_peers.link_folder(folder, root)
    taken = []
    monkeypatch.setattr(
        input_peers, "consume", lambda batches: taken.append(torch.cat([images for images, _ in batches]))
    )
    _, evaluation = input_peers.imagenet_peers(root, batch=8)
    for peer in evaluation.values():
        peer()
    usual, pixels, ours = taken
    torch.testing.assert_close(ours, usual, rtol=0, atol=1e-5)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close((pixels / 255 - mean) / std, usual, rtol=0, atol=1e-5)
