"""scripts/benchmark.py: it runs, its records have the numbers, and the page on speed follows from the records."""

import json
import re
import subprocess
import sys

import pytest
import torch

from scripts.benchmarks import gpu, timing
from tests.commands import ROOT, said
from tests.mistakes import refuses

RECORDS = sorted(timing.RECORDS.glob("*.json"))


@pytest.fixture
def benchmark(tmp_path):
    """Run benchmark.py; return the rows of each group and what was printed."""

    def call(*arguments):
        file = tmp_path / "new" / "records.json"
        status, out, complaint = said("scripts/benchmark.py", *arguments, "--output", file, folder=tmp_path)
        assert status == 0, complaint
        return {group: record["rows"] for group, record in json.loads(file.read_text()).items()}, out

    return call


def test_a_step_is_timed_without_hydra_and_others_and_profiled_afterwards(tmp_path):
    blocked = ("hydra", "omegaconf", "pandas", "timm", "torchvision", "sklearn", "cv2", "imagecorruptions", "jinja2")
    script = f"import runpy, sys; sys.modules |= dict.fromkeys({blocked}); sys.argv = sys.argv[1:]"
    script += "; runpy.run_path(sys.argv[0], run_name='__main__')"
    arguments = ["step", "fp32", "bf16,channels_last,untuned", "--model=no network", "--batch=4", "--repeats=3"]
    arguments += [f"--output={tmp_path}/records.json", f"--profile={tmp_path}/operations.txt"]
    command = [sys.executable, "-c", script, "scripts/benchmark.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    ((group, record),) = json.loads((tmp_path / "records.json").read_text()).items()
    assert group == "step, no network, batch 4"
    assert record["threads"] == 1
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert [row["what"].removeprefix(group) for row in record["rows"]] == [", fp32", ", bf16,channels_last,untuned"]
    assert all(len(row[side]) == 3 and min(row[side]) > 0 for row in record["rows"] for side in ("ours", "theirs"))
    assert timing.table([record]) in done.stdout
    assert re.search(r"^ *aten::\w+ .* 10 *$", (tmp_path / "operations.txt").read_text(), re.M)  # once in each step


@pytest.mark.slow
def test_peers_are_timed_and_a_group_measured_again_replaces_itself(benchmark):
    for repeats in (1, 2):
        rows, out = benchmark("peers", "mixing", "input", "evaluation", "--repeats", repeats)
        assert {group: len(of_group) for group, of_group in rows.items()} == {"mixing": 18, "input": 3, "evaluation": 4}
        assert {len(row["ours"]) for of_group in rows.values() for row in of_group} == {repeats}
    assert "|training batches of JPEGs|torchvision|" in out


def test_a_table_has_the_ratios_of_medians_the_slowest_first():
    fog = {"what": "fog", "peer": "theirs", "ours": [1.0, 2.0, 30.0], "theirs": [4.0, 9.0, 1.0]}
    snow = {"what": "snow", "peer": "theirs", "ours": [3.0], "theirs": [2.0]}
    lines = timing.table([{"device": "B", "rows": [fog, snow]}, {"device": "A", "rows": [fog | {"ours": [7.0]}]}])
    assert lines.splitlines() == [
        "|ours|theirs|A|B|",
        "|---|---|---:|---:|",
        "|fog|theirs|1.75|0.50|",
        "|snow|theirs||1.50|",
    ]


def test_the_page_follows_from_the_records(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text(timing.PAGE.read_text())
    timing.write_page(page)
    assert page.read_text() == timing.PAGE.read_text()
    kinds = [{record["device"] for record in json.loads(path.read_text()).values()} for path in RECORDS]
    assert len(kinds) >= 2
    assert all(len(devices) == 1 for devices in kinds)


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Run `benchmark.py gpu` with these parts for so many minutes; return its exit status and status.json."""
    monkeypatch.setattr(gpu, "init_distributed", lambda device: None)
    monkeypatch.setattr(gpu, "SECONDS_TO_SAVE", 1)

    def call(parts, minutes=1.0):
        monkeypatch.setattr(gpu, "parts", lambda folder, data: parts)
        code = gpu.run(gpu.argparse.Namespace(folder=tmp_path, data=[], minutes=minutes))
        return code, json.loads((tmp_path / "status.json").read_text())

    return call


def test_the_parts_for_a_gpu_are_done_once_and_resumed(measured, tmp_path):
    """One that fails does not keep the rest from running, and one that the time limit cuts has time to save."""
    saved = tmp_path / "saved"
    slow = f"trap 'echo saved >> {saved}; exit 1' TERM; test -e {saved} || while :; do sleep 0.1; done"
    parts = {"fails": ["sh", "-c", "echo why; exit 3"], "slow": ["sh", "-c", slow], "last": ["true"]}
    assert measured(parts, minutes=3 / 60) == (3, {"fails": 3})
    assert saved.read_text() == "saved\n"
    assert measured(parts) == (1, {"fails": 3, "slow": 0, "last": 0})
    assert (tmp_path / "fails.log").read_text() == "why\n"


def test_the_commands_for_a_gpu_are_ones(monkeypatch, tmp_path):
    """Every option is known, and only the device is missing."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    parts = gpu.parts(tmp_path, ["dataset=digits"])
    assert [*parts][:4] == ["tests", "step of PyramidNet-200", "step of ResNet-50", "SIGTERM and resume"]
    for command in parts.values():
        if "scripts/benchmark.py" in command:
            refuses(*command[command.index("scripts/benchmark.py") :], words=["CUDA device"])
