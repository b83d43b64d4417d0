"""scripts/benchmark.py on tiny settings."""

import csv
import json
import statistics

import pytest

from scripts.benchmarks.corruption import ORIGINAL, to_markdown
from smoothmix.corruptions import CORRUPTIONS
from tests.commands import ROOT, here


def benchmark(*arguments):
    return here("scripts/benchmark.py", "corruption", *arguments)


def test_two_corruptions_are_timed_and_compared(tmp_path):
    output = tmp_path / "new" / "speed.json"
    done = benchmark("--batch", 4, "--repeats", 3, "--corruptions", "contrast", "fog", "--output", output)
    assert done.returncode == 0, done.stderr
    record = json.loads(output.read_text())
    assert (record["benchmark"], record["severity"], record["batch"], record["threads"]) == ("cifar", 3, 4, 1)
    assert {name: len(times) for name, times in record["ms_per_image"].items()} == {"contrast": 3, "fog": 3}
    assert all(time > 0 for times in record["ms_per_image"].values() for time in times)
    text = output.with_suffix(".md").read_text()
    assert done.stdout.strip() == text.strip()
    median = statistics.median(record["ms_per_image"]["fog"])
    assert f"| fog | {median:.4f} |" in text
    assert f"| 0.5814 | {0.5814 / median:.2f} |" in text


def test_the_table_is_arithmetic():
    record = {
        "benchmark": "imagenet", "severity": 3, "batch": 8, "images": "drawn", "device": "CPU", "threads": 1,
        "versions": {"torch": "2"}, "command": "benchmark.py corruption", "not_measured": {"frost": "no photographs"},
        "load_average_before": 0.5,
        "ms_per_image": {"fog": [3.0, 1.0, 2.0], "snow": [4.0, 8.0, 9.0]},
        "original_ms_per_image": {"fog": 5.0, "snow": 4.0, "frost": 100.0},
    }  # fmt: skip
    text = to_markdown(record)
    assert "| fog | 2.0000 | 1.0000 to 3.0000 | 500 | 5.0000 | 2.50 |" in text
    assert "| snow | 8.0000 | 4.0000 to 9.0000 | 125 | 4.0000 | 0.50 |" in text
    assert "| sum of these 2 | 10.0000 |  | 100 | 9.0000 | 0.90 |" in text  # what was not measured is in neither sum
    assert "Not measured: frost: no photographs" in text
    assert "| 8.0000 | 4.0000 to 9.0000 | 125 | - | - |" in to_markdown(record | {"original_ms_per_image": {}})


def test_another_severity_has_no_original_beside_it(tmp_path):
    few = ["--batch", 2, "--repeats", 1, "--corruptions", "contrast", "--severity", 2]
    assert benchmark(*few, "--output", tmp_path / "a.json").returncode == 0
    assert json.loads((tmp_path / "a.json").read_text())["original_ms_per_image"] == {}


def test_the_originals_times_are_those_of_all_nineteen():
    with open(ORIGINAL) as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    for name in ("cifar", "imagenet"):
        times = {row["corruption"]: float(row["ms_per_image"]) for row in rows if row["benchmark"] == name}
        assert times.keys() == CORRUPTIONS.keys()
    recorded = ROOT.parent / "shared" / "corruptions" / "speed.json"
    if not recorded.is_file():
        pytest.skip("the recorded times are not here to compare with")
    stored = json.loads(recorded.read_text())
    for row in rows:
        found = stored[row["benchmark"]][row["corruption"]]["ms_per_image_severity3"]
        assert float(row["ms_per_image"]) == found


@pytest.mark.parametrize("name", ["batch", "threads", "repeats"])
def test_a_mistake_is_one_sentence(tmp_path, name):
    done = benchmark(f"--{name}", 0, "--output", tmp_path / "a.json")
    assert done.returncode == 2
    assert done.stderr == f"error: --{name} must be at least 1, not 0\n"


@pytest.mark.parametrize("path", sorted((ROOT / "results" / "benchmarks").glob("corruption-*.json")), ids=str)
def test_a_committed_table_is_the_one_that_its_record_makes(path):
    assert path.with_suffix(".md").read_text() == to_markdown(json.loads(path.read_text()))
