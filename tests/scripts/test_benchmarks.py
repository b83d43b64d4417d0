"""The measurements of scripts/benchmark.py on tiny settings: what they time, and the arithmetic of their pages."""

import json
import statistics
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from scripts import benchmark
from scripts.benchmarks import corruption, evaluation, hours, input, memory, mixing, ranks, start_up, step, trainer
from smoothmix.corruptions import CORRUPTIONS
from smoothmix.evaluation.classification import evaluate
from smoothmix.utils.distributed import ONE_RANK
from tests.commands import ROOT

MACHINE = {"device": "CPU", "threads": 1, "versions": {"torch": "2"}, "command": "b.py x", "load_average_before": 0.5}
RECORDS = sorted((ROOT / "results" / "benchmarks").glob("*.json"))
PAGES = {  # record: lines of its page
    corruption: (
        {
            "benchmark": "imagenet", "severity": 3, "batch": 8, "images": "drawn",
            "not_measured": {"frost": "no photographs"},
            "ms_per_image": {"fog": [3.0, 1.0, 2.0], "snow": [4.0, 8.0, 9.0]},
            "original_ms_per_image": {"fog": 5.0, "snow": 4.0, "frost": 100.0},
        },
        [
            "| fog | 2.0000 | 1.0000 to 3.0000 | 500 | 5.0000 | 2.50 |",
            "| snow | 8.0000 | 4.0000 to 9.0000 | 125 | 4.0000 | 0.50 |",
            "| sum of these 2 | 10.0000 |  | 100 | 9.0000 | 0.90 |",  # what was not measured is in neither sum
            "Not measured: frost: no photographs",
        ],
    ),
    evaluation: (
        {
            "images": 100, "batch": 50, "plain_batch": 100,
            "seconds": {
                "net": {
                    "clean": [1.0, 2.0, 4.0], "clean, a plain loop": [6.0, 6.0, 8.0],
                    "a cell of files, a plain loop": [1.0] * 3,
                }
            },
        },
        ["| clean | 50 | 25 to 100 | 3.00 |"],
    ),
    input: (
        {
            "cifar_batch": 128, "folder_batch": 32,
            "us_per_image": {
                "A": {"theirs": [90.0, 100.0, 110.0], "ours": [8.0, 9.0, 5.0]}, "Stages": {"crop": [49.0, 51.0]},
            },
        },
        [
            "| theirs | 100.0 | 90.0 to 110.0 | 10000 | 1.00 |", "| ours | 8.0 | 5.0 to 9.0 | 125000 | 12.50 |",
            "| crop | 50.0 | 49.0 to 51.0 | 20000 |",
        ],
    ),
    ranks: (
        {
            "model": "m", "batch": 8, "ranks": 2, "parameters": 1234567,
            "ms": {ranks.ALONE: [10.0, 12.0, 9.0], ranks.TOGETHER: [14.0], ranks.COLLECTIVE: [3.0], ranks.FLAG: [0.2]},
        },
        [
            "Medians of 3 rounds after a warm-up, in turn, on all ranks at once. The collective alone "
            "sums 1,234,567 float32 gradients.",
            "Beyond the collective a step of the run costs 1.00 ms, 10.0 % of a rank's step by itself. With one rank "
            "there is no DistributedDataParallel and no collective.",
            "    torchrun --nproc_per_node=2 b.py x",
        ],
    ),
    start_up: (
        {"seconds": {start_up.TORCH: [1.0, 2.0, 3.0], 'python -c "import smoothmix"': [1.1, 2.5, 3.2]}},
        [
            '| `python -c "import torch"` | 2.00 | 1.00 to 3.00 |  |',
            '| `python -c "import smoothmix"` | 2.50 | 1.10 to 3.20 | 200 |',
        ],
    ),
    step: (
        {
            "model": "resnet50", "batch": 10, "steps": 2,
            "ms_per_step": {
                step.PLAIN["cuda"]: [8.0, 9.0, 100.0], "bf16": [3.0, 2.0, 1.0], "mixing alone": [0.5, 0.25, 0.25]
            },
            "gpu": {
                "tflops_per_second": 700.0, "gb_per_second": 4000.0, "tflop": 0.9, "gb": 6.0, "floor_ms": 1.5,
                "share_of_floor": 0.75, "busy": 0.975, "kernels_us": {"convolve": 800.4},
            },
        },
        [
            f"| {step.PLAIN['cuda']} | 9.00 | 8.00 to 100.00 | 1111.1 | 1.00 |",
            "| bf16 | 2.00 | 1.00 to 3.00 | 5000.0 | 4.50 |",
            "| mixing alone | 0.25 | 0.25 to 0.50 | - | - |",
            "A product of matrices does 700 TFLOP/s, a copy 4000 GB/s. The operations of the fastest form, 0.900 TFLOP "
            "and 6.00 GB, take 1.50 ms at these rates, each by itself: 75.0 % of what the step takes. The GPU is busy "
            "97.5 % of the time.",
            "| `convolve` | 800 |",
        ],
    ),
    trainer: (
        {"batch": 8, "ms_per_step": {trainer.BARE: [1.0, 3.0], "trainer, 24 images": [2.5, 4.5]}},
        ["| trainer, 24 images | 3.500 | 2.500 to 4.500 | 1.500 |", f"| {trainer.BARE} | 2.000 | 1.000 to 3.000 |  |"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("module", "record", "lines"), [(module, *case) for module, case in PAGES.items()])
def test_a_page_is_arithmetic(module, record, lines):
    page = module.to_markdown(MACHINE | record)
    assert set(lines) <= set(page.splitlines())
    assert page.splitlines()[0].endswith(": CPU, 1 CPU thread, torch 2, load average before 0.5.")
    assert page.endswith("b.py x\n")


def test_a_corruption_without_the_original_has_a_gap():
    record = MACHINE | PAGES[corruption][0] | {"original_ms_per_image": {}}
    assert "| 8.0000 | 4.0000 to 9.0000 | 125 | - | - |" in corruption.to_markdown(record)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_committed_page_is_the_one_that_its_record_makes(path):
    record = json.loads(path.read_text())
    measurement = record["command"].split()[1]
    assert path.with_suffix(".md").read_text() == benchmark.MEASUREMENTS[measurement].to_markdown(record)
    assert not (measurement in ("evaluation", "mixing", "start-up") and record["git_commit"].endswith("-dirty"))


def test_ranks_with_a_graph_are_compared_too():
    eager, _ = PAGES[ranks]
    times = eager["ms"] | {f"{ranks.ALONE}, as a graph": [4.0], f"{ranks.TOGETHER}, as a graph": [9.0]}
    text = ranks.to_markdown(MACHINE | eager | {"ms": times})
    assert "costs 1.00 ms, 10.0 % of a rank's step by itself. Beyond the collective a step of the run, as a" in text
    assert "graph costs 2.00 ms, 50.0 % of a rank's step by itself. With" in text


def test_every_measurement_of_the_docs_is_committed():
    kinds = {json.loads(path.read_text())["command"].split()[1] for path in RECORDS}
    assert kinds == benchmark.MEASUREMENTS.keys() - {"hours", "memory"}


def test_two_corruptions_are_timed_and_compared(benchmarked):
    record, page = benchmarked("corruption", "--batch", 4, "--repeats", 3, "--corruptions", "contrast", "fog")
    assert (record["benchmark"], record["severity"], record["batch"], record["threads"]) == ("cifar", 3, 4, 1)
    assert {name: len(times) for name, times in record["ms_per_image"].items()} == {"contrast": 3, "fog": 3}
    assert all(time > 0 for times in record["ms_per_image"].values() for time in times)
    median = statistics.median(record["ms_per_image"]["fog"])
    assert f"| fog | {median:.4f} |" in page
    assert f"| 0.5814 | {0.5814 / median:.2f} |" in page


def test_the_originals_times_are_those_of_all_nineteen():
    rows = pd.read_csv(corruption.ORIGINAL, comment="#")
    for name in ("cifar", "imagenet"):
        assert set(rows.corruption[rows.benchmark == name]) == CORRUPTIONS.keys()
    recorded = ROOT.parent / "shared" / "corruptions" / "speed.json"
    if not recorded.is_file():
        pytest.skip("the recorded times are not here to compare with")
    stored = json.loads(recorded.read_text())
    for row in rows.itertuples():
        assert row.ms_per_image == stored[row.benchmark][row.corruption]["ms_per_image_severity3"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        *((f"corruption --{name} 0", f"error: --{name} must be at least 1, not 0\n") for name in ("batch", "threads")),
        ("evaluation --images 0", "error: --images must be at least 1, not 0\n"),
        ("step --steps 0", "error: --steps must be at least 1, not 0\n"),
        ("mixing --repeats 0", "error: --repeats must be at least 1, not 0\n"),
        ("input", "nothing to read: give --cifar DIR, --folder DIR or both"),
        ("input --folder /nowhere", "there is no folder /nowhere"),
        (f"input --folder {ROOT} --device cuda", "--device cuda: input is measured on the CPU"),
        (f"input --folder {ROOT} --repeats 0", "--repeats must be at least 1, not 0"),
        ("ranks", "start torchrun --nproc_per_node=2 or more"),
        *((f"mixing --shapes {text}", f"{text} is no shape: give four whole numbers")
          for text in ("64x3x224", "64x3x0x8", "axbxcxd")),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(benchmarked, options, sentence):
    complaint = benchmarked(*options.split())
    assert complaint.endswith(sentence) if sentence.endswith("\n") else sentence in complaint


def test_mixing_times_every_peer(benchmarked):
    record, page = benchmarked("mixing", "--shapes", "4x3x8x8", "2x3x9x7", "--repeats", 3)
    assert list(record["seconds"]) == ["4x3x8x8", "2x3x9x7"]
    for seconds in record["seconds"].values():
        assert {"SmoothMixC", "SmoothMixS", "CutMix", "Mixup", "Cutout", mixing.REFERENCE} < set(seconds)
        assert len(seconds) == 9
        assert all(len(times) == 3 and min(times) > 0 for times in seconds.values())
    times = record["seconds"]["4x3x8x8"]
    ratio = statistics.median(times["CutMix"]) / statistics.median(times[mixing.REFERENCE])
    line = next(line for line in page.splitlines() if line.startswith("| CutMix |"))
    assert line.endswith(f"| {ratio:.2f} |")


def test_the_peers_of_mixing_all_mix_and_ours_leave_the_input():
    peers = mixing.peers((8, 3, 16, 16), torch.device("cpu"))
    torch.manual_seed(0)
    for name, call in peers.items():
        before = call.args[0].clone()
        images, targets = call()
        assert not torch.equal(images, before), name
        assert targets.shape == (8, mixing.CLASSES)
        assert torch.equal(call.args[0], before) != ("in place" in name), name


def test_evaluation_times_the_same_work(tmp_path):
    """Clean images and those of a file, by evaluate and by the plain loop: the same errors."""
    torch.manual_seed(0)
    model = evaluation.MODELS["pyramidnet8"].build().eval()
    images, labels = evaluation.write_files(tmp_path, 101)
    batches = evaluation.our_batches(tmp_path, images, labels, ONE_RANK)
    for number, what in ((0, "clean"), (2, "a cell of files")):  # some labels right, or both errors would be 100
        with torch.no_grad():
            predicted = torch.cat([model(inputs).argmax(1) for inputs, _ in batches[what]]).numpy()
        labels[number::4] = predicted[number::4]
    np.save(tmp_path / "labels.npy", np.tile(labels, 5))
    batches = evaluation.our_batches(tmp_path, images, labels, ONE_RANK)
    clean, cell = (evaluate(model, batches[what], ONE_RANK)["top1_error"] for what in ("clean", "a cell of files"))
    assert clean == pytest.approx(evaluation.plain_loop(model, images[0], labels, ONE_RANK.device))
    assert cell == pytest.approx(evaluation.plain_cell(model, tmp_path, labels, ONE_RANK.device))
    assert max(clean, cell) < 80


def test_evaluation_is_measured(benchmarked):
    record, page = benchmarked("evaluation", "--images", 30, "--repeats", 1)
    assert list(record["seconds"]) == ["pyramidnet8", "almost no network"]
    assert all(len(seconds) == 7 for seconds in record["seconds"].values())
    assert "| clean, a plain loop |" in page


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


def test_the_longest_runs_begin_first():
    assert hours.wall_hours([1, 1, 1, 3], 2) == 3
    assert hours.wall_hours([2, 2, 2], 2) == 4
    assert hours.wall_hours([], 8) == 0


def test_memory_is_counted_to_the_byte():
    """Of tensors that lie in one piece of memory, such as ReLU's in place, one."""

    def build():
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 5)
        )

    state = 4 * 3 * (108 + 8 + 725) + 4 * 8 + 8  # statistics and counter of BatchNorm once
    images, channels = 2 * 3 * 8 * 8, 2 * 4 * 6 * 6
    head = 4 * (2 * 4 + 2 * 2 * 5)  # means, deviations, softmax, targets
    assert memory.count(build, 2, 8, 5, None) == (state, 4 * images + 2 * 4 * channels + head)
    bf16 = 2 * (images + 2 * channels + 108 + 720)  # images and weights of both layers again
    assert memory.count(build, 2, 8, 5, torch.bfloat16) == (state, 4 * images + bf16 + head)


def test_all_goes_on_after_a_failure_and_says_which(monkeypatch, benchmarked, tmp_path):
    commands = []

    def run(command):
        commands.append(command)
        return subprocess.CompletedProcess(command, returncode="mixing" in command)

    monkeypatch.setattr(benchmark.subprocess, "run", run)
    count = len(benchmark.ALL) + 1
    complaint = benchmarked("all", "--folder", tmp_path, output=())
    assert complaint == f"error: 1 of {count} measurements failed: mixing; see above\n"
    assert len(commands) == count
    start_up = [sys.executable, benchmark.__file__, "start-up", "--device", "cpu"]
    assert [*start_up, "--output", f"{tmp_path}/start-up-cpu.json"] in commands
