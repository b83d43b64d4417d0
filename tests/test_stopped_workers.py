"""A training whose workers deliver nothing, as a user meets it: stopped processes, storage that does not answer."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]


@pytest.fixture
def command(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 2)):
        for name in ("ant", "bee"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return [
        *[sys.executable, "train.py", "dataset=folder", "dataset.name=insects", f"dataset.root={tmp_path / 'images'}"],
        *["dataset.image_size=16", "dataset.resize=20", "dataset.cutout_size=8", "dataset.workers=2"],
        *["model=pyramidnet200", "model.name=small", "model.depth=20", "model.alpha=8", "mixing=smoothmix_c"],
        *["recipe=cifar", "recipe.batch_size=2", "recipe.epochs=25", "recipe.decay_epochs=[]", "recipe.lr=0.01"],
        *["log_every=1", "device=cpu", f"output={tmp_path / 'outputs'}"],
    ]


def test_a_signal_while_no_batch_comes_saves_and_the_run_resumes_to_the_same_weights(command, tmp_path):
    settings = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, env=settings, **pipes)
    logs = tmp_path / "outputs"
    until = time.monotonic() + 120
    while not list(logs.rglob("metrics.jsonl")):
        assert time.monotonic() < until
        time.sleep(0.01)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    for child in map(int, children):
        os.kill(child, signal.SIGSTOP)
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert re.search(r"^SIGTERM: saved epoch \d+, step \d+ of 20, in ", output, re.MULTILINE), output
    assert "Traceback" not in output
    assert not any(Path("/proc", child, "fd").exists() for child in children)

    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    again = [*command[:-1], f"output={tmp_path / 'unbroken'}"]
    assert subprocess.run(again, cwd=ROOT, env=settings, capture_output=True, timeout=300).returncode == 0
    (one,), (other,) = (list((tmp_path / name).rglob("last.pt")) for name in ("outputs", "unbroken"))
    one, other = (torch.load(path, weights_only=True)["model"] for path in (one, other))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
