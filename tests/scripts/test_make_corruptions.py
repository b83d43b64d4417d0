"""scripts/make_corruptions.py: what it writes, how it resumes, what it refuses."""

import argparse
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import class_folders, digits
from datasets.corrupted import CorruptedArrays, open_files
from datasets.corrupted_sets import CORRUPTED
from scripts import make_corruptions as script
from smoothmix.evaluation.generated import GeneratedImages
from smoothmix.utils.command import status_of
from smoothmix.utils.distributed import Ranks
from tests.commands import ENVIRONMENT, ROOT, Command, python, wait_until
from tests.mistakes import one_line, refused, refuses

SCRIPT = ROOT / "scripts" / "make_corruptions.py"
# several dozen milliseconds a cell: time enough to be killed in
NAMES = ["zoom_blur", "snow"]
CPU = Ranks(torch.device("cpu"))


def command(output):
    return [sys.executable, SCRIPT, "digits_c", "--output", output, "--workers", "1", "--corruptions", *NAMES]


def arrays(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def test_workers_that_cannot_start_leave_ctrl_c_as_it_was(monkeypatch):
    def submit(*_):
        raise OSError("no more processes")

    monkeypatch.setattr(script.ProcessPoolExecutor, "submit", submit)
    before = signal.getsignal(signal.SIGINT)
    with refused("no more processes", error=OSError):
        list(script._by_workers(argparse.Namespace(workers=1), [("fog", (1,))]))
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "DIGITS-C"
    done = python(*command(folder)[1:])
    assert done.returncode == 0, done.stderr
    return folder


def test_the_published_layout_holds_the_generated_images(made):
    data = digits()
    files = {".lock", "generated.json", "labels.npy", *(f"{name}.npy" for name in NAMES)}
    assert {path.name for path in made.iterdir()} == files
    stored = json.loads((made / "generated.json").read_text())
    identity = [stored[key] for key in ("seed", "data_fingerprint", "device_type")]
    assert identity == [0, data.fingerprint, "cpu"]
    assert ["make_corruptions.py digits_c" in start["command"] for start in stored["starts"]] == [True]
    labels = np.load(made / "labels.npy")
    assert np.array_equal(labels.reshape(5, 360), np.tile(data.arrays("test")[1].numpy(), (5, 1)))
    cells, reader = GeneratedImages(data, "cifar", 0, CPU), CorruptedArrays(made, data.arrays("test")[1], 32)
    assert reader.source == "generated files (seed 0)"
    for name in NAMES:
        assert np.load(made / f"{name}.npy", mmap_mode="r").shape == (1800, 32, 32, 3)
        for severity in (1, 5):
            expected = torch.cat([images for images, _ in cells.batches(name, severity)])
            found = torch.cat([images for images, _ in reader.batches(name, severity, 100)])
            assert torch.equal(found, expected), (name, severity)


def children(pid, *options):
    """The living processes that `pid` started, as `options` of pgrep choose among them."""
    listed = subprocess.run(["pgrep", "-P", str(pid), *options], capture_output=True, text=True).stdout
    return [int(child) for child in listed.split()]


def is_running(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return state != "" and not state.startswith("Z")


def test_killed_and_started_again_it_writes_the_same_bytes(made, capsys, tmp_path, run_main):
    folder = tmp_path / "DIGITS-C"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    process = subprocess.Popen(command(folder), cwd=ROOT, env=ENVIRONMENT, **pipes)
    wait_until(lambda: children(process.pid, "-f", "spawn_main"))
    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C, as its worker imports
    out, complaint = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    one_line(*(line for line in complaint.splitlines() if "corruptions:" not in line), "again")

    process = Command(*command(folder)[1:])
    wait_until(lambda: [path for path in folder.glob("*.npy") if path.stem in NAMES])
    workers = children(process.pid)
    process.kill()  # and not its workers
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    wait_until(lambda: not any(map(is_running, workers)), 10)
    assert len(workers) >= 1
    assert len(arrays(folder)) < len(arrays(made))
    (folder / ".parts" / "zoom_blur-5.npy").write_bytes(b"half of an array, as an earlier version left it")
    (kept,) = (path for path in folder.glob("*.npy") if path.stem in NAMES)
    before = kept.stat().st_mtime_ns

    process = Command(*command(folder)[1:])
    wait_until(lambda: "process" in (folder / ".lock").read_text() and children(process.pid))
    assert run_main(*command(folder)[2:]) == 2
    one_line(capsys.readouterr().err[:-1], folder, process.pid)
    assert process.wait() == 0
    assert arrays(folder) == arrays(made)
    assert kept.stat().st_mtime_ns == before
    assert {path.name for path in folder.iterdir()} == {path.name for path in made.iterdir()}
    assert len(json.loads((folder / "generated.json").read_text())["starts"]) in (2, 3)  # Ctrl-C may have come earlier


def test_what_is_whole_is_kept_and_the_rest_is_made_again(made, tmp_path, monkeypatch):
    folder = tmp_path / "DIGITS-C"
    shutil.copytree(made, folder)
    writer = script.Generator(arguments(folder, "digits_c")).writer
    assert writer.jobs([*NAMES, "fog"]) == [("fog", (1, 2, 3, 4, 5))]
    snow = folder / "snow.npy"
    whole = snow.read_bytes()
    short = io.BytesIO()
    np.save(short, np.load(snow)[:250])
    for damaged in (whole[:-1], whole[:50], b"", short.getvalue()):
        snow.write_bytes(damaged)
        assert writer.jobs(NAMES) == [("snow", (1, 2, 3, 4, 5))]
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*_*.npy")}
    monkeypatch.setattr(script, "_by_workers", lambda args, jobs: script._on_gpu(script.Generator(args), jobs))
    assert script.make(arguments(folder, "digits_c", corruptions=NAMES)) == {}
    assert snow.read_bytes() == whole
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*_*.npy")} == before


def arguments(output, benchmark, **changes):
    given = {"benchmark": benchmark, "output": output, "root": Path("data"), "seed": 0, "device": "cpu", "workers": 1,
             "corruptions": ["contrast"]}  # fmt: skip
    return argparse.Namespace(**given | changes)


@pytest.fixture
def run_main(monkeypatch):
    """Run the command with these arguments, in this process; return the exit status."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["make_corruptions.py", *map(str, arguments)])
        return status_of(script.main) or 0

    return call


def test_a_folder_of_other_files_is_left_alone(made, tmp_path):
    before = arrays(made)
    mine, linked = tmp_path / "mine", tmp_path / "linked"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    shutil.copytree(made, linked)
    (linked / ".parts").symlink_to(mine)
    for folder, words in ((made, ["seed", "--output"]), (mine, []), (linked / ".parts", ["link"])):
        output = ["--output", linked if folder.name == ".parts" else folder, "--seed", int(folder == made)]
        refuses(SCRIPT, "digits_c", *output, "--corruptions", "fog", words=[folder, *words])
    assert arrays(made) == before
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_files_of_other_images_or_another_kind_of_device_are_refused(made):
    data = digits()
    with refused(made, "device_type", "--output"):
        script.identify(made, 0, data, torch.device("cuda"))
    data.fingerprint = "of others"
    with refused(made, "data_fingerprint"):
        script.identify(made, 0, data, torch.device("cpu"))


def test_torchrun_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    refuses(SCRIPT, "digits_c", "--output", tmp_path / "c", words=["torchrun", "2 processes", "--workers"])
    assert not (tmp_path / "c").exists()


def test_images_of_one_name_are_refused(monkeypatch, tmp_path):
    for split, names in (("train", ["a.png"]), ("val", ["a.jpg", "a.png", "b.png"])):
        (tmp_path / split / "n01").mkdir(parents=True)
        for name in names:
            Image.new("RGB", (8, 8)).save(tmp_path / split / "n01" / name)
    monkeypatch.setattr(script, "_clean", lambda args: class_folders(tmp_path, workers=0))
    with refused("n01/a.jpg", "n01/a.png", "n01/a.JPEG"):
        script.make(arguments(tmp_path / "c", "imagenet_c"))
    assert not (tmp_path / "c").exists()


def test_what_cannot_be_made_is_named_and_the_rest_is_made(monkeypatch, capsys, tmp_path, run_main):
    monkeypatch.setattr(script.GeneratedImages, "missing", lambda self, names: {"frost": "no photographs"})
    monkeypatch.setattr(script, "_by_workers", lambda args, jobs: script._on_gpu(script.Generator(args), jobs))
    overrides = ["digits_c", "--output", tmp_path / "c", "--workers", "1", "--corruptions", "frost", "contrast"]
    assert run_main(*overrides) == 0
    assert "frost: no photographs" in capsys.readouterr().out
    assert sorted(arrays(tmp_path / "c")) == ["contrast.npy", "labels.npy"]


def test_imagenet_c_is_jpeg_files_in_class_folders(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("n01", "n02"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(2):
                pixels = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
                image = Image.fromarray(pixels).resize((280, 250), Image.Resampling.BICUBIC)
                image.save(tmp_path / split / name / f"ILSVRC2012_{split}_{i}.png")
    data = class_folders(tmp_path, workers=0)
    monkeypatch.setattr(script, "_clean", lambda args: data)
    folder = tmp_path / "ImageNet-C"
    folder.mkdir()
    generator = script.Generator(arguments(folder, "imagenet_c"))
    writer = generator.writer
    stale = folder / ".parts" / "contrast-1.npy.unfinished" / "n01"
    stale.mkdir(parents=True)
    (stale / "of an interrupted start.JPEG").write_bytes(b"")
    writer.prepare()
    assert not list((folder / ".parts").iterdir())
    jobs = writer.jobs(["contrast"])
    assert jobs == [("contrast", (severity,)) for severity in range(1, 6)]
    for done, job in enumerate(jobs, start=1):
        generator.make(job)
        assert writer.jobs(["contrast"]) == jobs[done:]
    one, two, *_ = sorted(folder.glob("contrast/1/*/*"))
    whole = one.read_bytes()
    for spoil in (one.unlink, lambda: one.write_bytes(whole[:-1]), lambda: one.write_bytes(b"")):
        spoil()
        assert writer.jobs(["contrast"]) == jobs[:1]
        one.write_bytes(whole)
    shutil.copy(two, two.with_name("another.JPEG"))
    assert writer.jobs(["contrast"]) == jobs[:1]
    generator.make(jobs[0])
    assert writer.jobs(["contrast"]) == []
    assert not list(folder.glob("*.npy"))
    assert sorted(str(path.relative_to(folder)) for path in folder.glob("contrast/3/*/*")) == [
        f"contrast/3/{name}/ILSVRC2012_val_{i}.JPEG" for name in ("n01", "n02") for i in range(2)
    ]
    assert len(list(folder.glob("contrast/1/*/*"))) == 4  # nothing of the interrupted start

    reader, cells = open_files(CORRUPTED["imagenet_c"], folder, data), GeneratedImages(data, "imagenet", 0, CPU)
    assert reader.missing(["contrast", "fog"]).keys() == {"fog"}
    for severity in (1, 5):  # as they are evaluated without files: the same pixels, by another encoder
        found, expected = (
            [torch.cat(tensors) for tensors in zip(*cell, strict=True)]
            for cell in (reader.batches("contrast", severity, 3), cells.batches("contrast", severity))
        )
        assert torch.equal(found[1], expected[1])
        assert torch.equal(found[0], expected[0])
