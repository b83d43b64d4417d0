"""scripts/benchmark.py input: the pipelines it compares, and its table."""

import json
import pickle
from argparse import ArgumentParser

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.folder import IMAGENET_MEAN, IMAGENET_STD
from scripts.benchmarks import input, input_peers
from smoothmix.utils.errors import UserError


def run(*overrides):
    parser = ArgumentParser()
    input.add_arguments(parser)
    args = parser.parse_args([*map(str, overrides)])
    args.run(args)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(3):
            pixels = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
            pixels.resize((120 + i, 90)).save(tmp_path / "images" / name / f"{i}.jpg")
    return tmp_path / "images"


@pytest.fixture
def cifar(tmp_path):
    root = tmp_path / "cifar-100-python"
    root.mkdir()
    rng = np.random.default_rng(0)
    for name in ("train", "test"):
        content = {"data": rng.integers(0, 256, (300, 3072), dtype=np.uint8), "fine_labels": [0] * 300}
        (root / name).write_bytes(pickle.dumps(content))
    (root / "meta").write_bytes(pickle.dumps({"fine_label_names": [str(i) for i in range(100)]}))
    return tmp_path


def test_both_kinds_of_input_are_timed(cifar, folder, tmp_path):
    threads = torch.get_num_threads()
    output = tmp_path / "speed.json"
    run("--cifar", cifar, "--folder", folder, "--steps", 2, "--repeats", 1, "--threads", threads, "--output", output)
    record = json.loads(output.read_text())
    sizes = {group: len(rates) for group, rates in record["us_per_image"].items()}
    groups = ("CIFAR-100, training", "Folder, training", "Folder, evaluation", "Stages of training on the folder")
    assert sizes == dict(zip(groups, (3, 4, 3, 14), strict=True))
    every = [times for rates in record["us_per_image"].values() for times in rates.values()]
    assert all(len(times) == 1 and times[0] > 0 for times in every)
    assert "| ours: a worker's part |" in output.with_suffix(".md").read_text()


def test_the_table_is_arithmetic():
    record = {
        "cifar_batch": 128, "folder_batch": 32, "device": "CPU", "threads": 1, "versions": {"torch": "2"},
        "command": "benchmark.py input", "load_average_before": 0.5,
        "us_per_image": {"A": {"theirs": [90.0, 100.0, 110.0], "ours": [8.0, 9.0, 5.0]}, "Stages": {"crop": [50.0]}},
    }  # fmt: skip
    text = input.to_markdown(record)
    assert "| theirs | 100.0 | 90.0 to 110.0 | 10000 | 1.00 |" in text
    assert "| ours | 8.0 | 5.0 to 9.0 | 125000 | 12.50 |" in text
    assert "| crop | 50.0 | 50.0 to 50.0 | 20000 |\n" in text


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


def test_mistakes_are_one_sentence(tmp_path):
    output = ("--output", tmp_path / "x.json")
    for overrides, message in (
        ((), "nothing to read: give --cifar DIR, --folder DIR or both"),
        (("--folder", tmp_path / "none"), f"there is no folder {tmp_path / 'none'}"),
        (("--folder", tmp_path, "--device", "cuda"), "--device cuda: input is measured on the CPU"),
        (("--folder", tmp_path, "--repeats", 0), "--repeats must be at least 1, not 0"),
    ):
        with pytest.raises(UserError, match=message):
            run(*overrides, *output)
