"""The measurements of scripts/benchmark.py on tiny settings: what they time, and the arithmetic of their tables."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scripts import benchmark
from scripts.benchmarks import evaluation, hours, memory, mixing, start_up
from smoothmix.evaluation.classification import evaluate
from smoothmix.utils.command import status_of
from smoothmix.utils.distributed import Ranks

ROOT = Path(__file__).resolve().parents[2]
CPU = Ranks(torch.device("cpu"))
MACHINE = {"device": "CPU", "threads": 1, "versions": {"torch": "2"}, "command": "b.py x", "load_average_before": 0.5}


def measure(monkeypatch, capsys, *overrides):
    """Run scripts/benchmark.py here; return (status, what it printed, what it complained about)."""
    monkeypatch.setattr(sys, "argv", ["scripts/benchmark.py", *map(str, overrides)])
    status = status_of(benchmark.main) or 0
    return status, *capsys.readouterr()


def test_mixing_times_every_peer(monkeypatch, capsys, tmp_path):
    output = tmp_path / "mixing.json"
    overrides = ["mixing", "--shapes", "4x3x8x8", "2x3x9x7", "--repeats", 3, "--output", output]
    status, said, _ = measure(monkeypatch, capsys, *overrides)
    assert status == 0
    record = json.loads(output.read_text())
    assert list(record["seconds"]) == ["4x3x8x8", "2x3x9x7"]
    for seconds in record["seconds"].values():
        assert {"SmoothMixC", "SmoothMixS", "CutMix", "Mixup", "Cutout", mixing.REFERENCE} < set(seconds)
        assert len(seconds) == 9
        assert all(len(times) == 3 and min(times) > 0 for times in seconds.values())
    times = record["seconds"]["4x3x8x8"]
    ratio = statistics.median(times["CutMix"]) / statistics.median(times[mixing.REFERENCE])
    (line,) = (line for line in said.splitlines()[: len(times) + 8] if line.startswith("| CutMix |"))
    assert line.endswith(f"| {ratio:.2f} |")
    assert said.strip() == output.with_suffix(".md").read_text().strip()


def test_the_peers_of_mixing_all_mix_and_ours_leave_the_input(monkeypatch):
    peers = mixing.peers((8, 3, 16, 16), torch.device("cpu"))
    torch.manual_seed(0)
    for name, call in peers.items():
        before = call.args[0].clone()
        images, targets = call()
        assert not torch.equal(images, before), name
        assert targets.shape == (8, mixing.CLASSES)
        assert torch.equal(call.args[0], before) != ("in place" in name), name


def test_a_shape_that_is_none_is_refused(monkeypatch, capsys, tmp_path):
    for text in ("64x3x224", "64x3x0x8", "axbxcxd"):
        options = ["mixing", "--shapes", text, "--output", tmp_path / "a.json"]
        status, _, complaint = measure(monkeypatch, capsys, *options)
        assert status == 2
        assert f"{text} is no shape: give four whole numbers" in complaint


def test_evaluation_times_the_same_work(tmp_path):
    """Clean images and those of a file, by evaluate and by the plain loop: the same errors."""
    torch.manual_seed(0)
    model = evaluation.network("pyramidnet8").eval()
    images, labels = evaluation.write_files(tmp_path, 101)
    batches = evaluation.our_batches(tmp_path, images, labels, CPU)
    for number, what in ((0, "clean"), (2, "a cell of files")):  # some labels right, or both errors would be 100
        with torch.no_grad():
            predicted = torch.cat([model(inputs).argmax(1) for inputs, _ in batches[what]]).numpy()
        labels[number::4] = predicted[number::4]
    np.save(tmp_path / "labels.npy", np.tile(labels, 5))
    batches = evaluation.our_batches(tmp_path, images, labels, CPU)
    clean, cell = (evaluate(model, batches[what], CPU)["top1_error"] for what in ("clean", "a cell of files"))
    assert clean == pytest.approx(evaluation.plain_loop(model, images[0], labels, CPU.device))
    assert cell == pytest.approx(evaluation.plain_cell(model, tmp_path, labels, CPU.device))
    assert max(clean, cell) < 80


def test_evaluation_is_measured(monkeypatch, capsys, tmp_path):
    output = tmp_path / "evaluation.json"
    status, said, _ = measure(monkeypatch, capsys, "evaluation", "--images", 30, "--repeats", 1, "--output", output)
    assert status == 0
    record = json.loads(output.read_text())
    assert list(record["seconds"]) == ["pyramidnet8", "almost no network"]
    assert all(len(seconds) == 7 for seconds in record["seconds"].values())
    assert "| clean, a plain loop |" in said
    assert measure(monkeypatch, capsys, "evaluation", "--images", 0, "--output", output)[::2] == (
        2, "error: --images must be at least 1, not 0\n"
    )  # fmt: skip


def test_the_tables_are_arithmetic():
    seconds = {
        "clean": [1.0, 2.0, 4.0],
        "clean, a plain loop": [6.0, 6.0, 8.0],
        "a cell of files, a plain loop": [1.0] * 3,
    }
    text = evaluation.to_markdown(
        MACHINE | {"images": 100, "batch": 50, "plain_batch": 100, "seconds": {"net": seconds}}
    )
    assert "| clean | 50 | 25 to 100 | 3.00 |" in text
    smoothmix = 'python -c "import smoothmix"'
    assert {start_up.TORCH, smoothmix} < start_up.COMMANDS.keys()
    text = start_up.to_markdown(MACHINE | {"seconds": {start_up.TORCH: [1.0, 2.0, 3.0], smoothmix: [1.1, 2.5, 3.2]}})
    assert f"| `{smoothmix}` | 2.50 | 1.10 to 3.20 | 200 |" in text


def test_hours_follow_from_images_and_rates(tmp_path):
    tables = hours.runs_of_tables()
    assert {name: len(runs) for name, runs in tables.items()} == {
        "1": 50, "2": 30, "3": 11, "4": 0, "5": 0, "6": 0, "7": 10, "8": 15
    }  # fmt: skip
    assert sum(images for _, images in tables["1"]) == 50 * 300 * 50_000
    step = {"model": "pyramidnet200", "batch": 32, "device": "a GPU", "ms_per_step": {hours.FORMS[0]: [9.0, 8.0, 6.4]}}
    (tmp_path / "step-a.json").write_text(json.dumps(step))
    on_a_cpu = step | {"model": "resnet50", "batch": 128, "ms_per_step": {"bf16, channels_last, eager": [1.0]}}
    (tmp_path / "step-b.json").write_text(json.dumps(on_a_cpu))
    old = step | {"batch": 64, "device": "an old GPU", "ms_per_step": {"fp32, graph": [9.0], hours.FORMS[1]: [16.0]}}
    (tmp_path / "step-c.json").write_text(json.dumps(old))
    rates = hours.read_rates(tmp_path)
    assert rates == {
        ("pyramidnet200", 32): (4000.0, "step-a.json: a GPU"),
        ("pyramidnet200", 64): (4000.0, "step-c.json: an old GPU"),
    }
    text = hours.to_markdown(tables, rates)
    one = 15e6 / 4000 / 3600  # hours of a run
    assert f"| 1 | 50 | 750 | {50 * one:.1f} | {7 * one:.1f} |" in text  # seven rounds on eight GPUs
    assert "| 3 | 11 | 4228 | not measured | not measured |" in text
    assert "- pyramidnet200, batch 32: 4000 images/s (step-a.json: a GPU)" in text
    assert "--model resnet50 --batch 128 " in text


def test_memory_is_counted_to_the_byte():
    """Of tensors that lie in one piece of memory, such as ReLU's in place, one."""

    def build():
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 5)
        )

    state = 4 * 3 * (108 + 8 + 725) + 4 * 8 + 8  # statistics and counter of BatchNorm once
    images, channels, head = (
        2 * 3 * 8 * 8,
        2 * 4 * 6 * 6,
        4 * (2 * 4 + 2 * 2 * 5),
    )  # means, deviations, softmax, targets
    assert memory.count(build, 2, 8, 5, None) == (state, 4 * images + 2 * 4 * channels + head)
    bf16 = 2 * (images + 2 * channels + 108 + 720)  # images and weights of both layers again
    assert memory.count(build, 2, 8, 5, torch.bfloat16) == (state, 4 * images + bf16 + head)


def test_the_longest_runs_begin_first():
    assert hours.wall_hours([1, 1, 1, 3], 2) == 3
    assert hours.wall_hours([2, 2, 2], 2) == 4
    assert hours.wall_hours([], 8) == 0


def test_all_goes_on_after_a_failure_and_says_which(monkeypatch, capsys, tmp_path):
    commands = []

    def run(command):
        commands.append(command)
        return subprocess.CompletedProcess(command, returncode="mixing" in command)

    monkeypatch.setattr(benchmark.subprocess, "run", run)
    status, _, complaint = measure(monkeypatch, capsys, "all", "--folder", tmp_path)
    count = len(benchmark.ALL) + 1
    assert (status, complaint) == (2, f"error: 1 of {count} measurements failed: mixing; see above\n")
    assert len(commands) == count
    assert [
        sys.executable,
        benchmark.__file__,
        "start-up",
        "--device",
        "cpu",
        "--output",
        f"{tmp_path}/start-up-cpu.json",
    ] in commands


@pytest.mark.parametrize("kind", ["evaluation", "mixing", "start-up"])
def test_committed_tables_are_those_that_their_records_make(kind):
    module = {"evaluation": evaluation, "mixing": mixing, "start-up": start_up}[kind]
    paths = list((ROOT / "results" / "benchmarks").glob(f"{kind}-*.json"))
    assert paths
    for path in paths:
        record = json.loads(path.read_text())
        assert path.with_suffix(".md").read_text() == module.to_markdown(record)
        assert not record["git_commit"].endswith("-dirty")
