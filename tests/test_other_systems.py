"""Commands without Linux's own functions, without its files, and with processes that are spawned, as on macOS."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from tests.commands import ENVIRONMENT, ROOT

# Python runs it as each process starts, data workers included
TAKEN_AWAY = """
import io, multiprocessing, os, select

for name in ("sched_getaffinity", "sched_setaffinity", "memfd_create", "eventfd", "getrandom", "splice", "pipe2",
             "copy_file_range", "posix_fallocate", "posix_fadvise", "getxattr", "setxattr", "listxattr", "fdatasync",
             "pidfd_open", "getresuid", "setresuid"):
    delattr(os, name)
del select.epoll
multiprocessing.set_start_method("spawn")
everywhere = io.open

def elsewhere(file, *args, **options):
    if str(file).startswith(("/proc/", "/sys/")):
        raise FileNotFoundError(2, "No such file or directory", file)
    return everywhere(file, *args, **options)

io.open = elsewhere
"""


@pytest.mark.slow
def test_a_run_with_data_workers_is_trained_evaluated_and_summarized(tmp_path):
    for split, name, i in ((split, name, i) for split in ("train", "val") for name in ("ant", "bee") for i in range(8)):
        path = tmp_path / "images" / split / name / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (30 * i, 0, 200 * (name == "bee"))).save(path)
    (tmp_path / "sitecustomize.py").write_text(TAKEN_AWAY)
    environment = ENVIRONMENT | {"PYTHONPATH": str(tmp_path)}

    def command(*arguments):
        done = subprocess.run(
            [sys.executable, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    assert command("-c", "import os; print(hasattr(os, 'sched_getaffinity'))") == "False\n"
    assert hasattr(os, "sched_getaffinity")
    options = ["dataset=folder", "dataset.name=two", f"dataset.root={tmp_path / 'images'}", "dataset.workers=1"]
    options += ["dataset.image_size=32", "dataset.resize=32", "recipe.batch_size=4", "recipe.epochs=1"]
    command("train.py", *options, "recipe.decay_epochs=[]", "model.depth=8", "model.alpha=3", f"output={tmp_path}/runs")
    (record,) = (tmp_path / "runs").rglob("summary.json")
    error = json.loads(record.read_text())["last"]["test_top1_error"]
    assert f"top-1 error {error:.2f}%" in command("eval.py", f"run={record.parent}", "weights=last")
    said = command("eval_corruption.py", f"run={record.parent}", "corruptions=[contrast]")
    assert said.startswith("two of 32 pixels, corrupted (generated (seed 0)), top-1 error in %")
    assert f" {error:.2f}" in command("scripts/report.py", tmp_path / "runs", "--output", tmp_path / "report")
