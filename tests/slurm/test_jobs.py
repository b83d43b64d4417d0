"""Jobs of a real SLURM with two nodes and a preempting partition `urgent`: cluster.sh prove runs this."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scripts.reproduction.tables import load_table, table_runs

ROOT = Path(__file__).parents[2]
SCRIPT = ["scripts/job.sbatch", "train.py"]
TINY = ["device=cpu", "model.alpha=3", "recipe.epochs=6", "recipe.decay_epochs=[]"]

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not shutil.which("sbatch"), reason="no sbatch here; cluster.sh prove brings it up"),
]


def run(*command):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(map(str, command), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def submit(folder, *overrides, options=()):
    """Return the number of a job that trains into `folder` and logs into `folder`.log."""
    log = f"--output={folder}-%a.log" if any("--array" in option for option in options) else f"--output={folder}.log"
    return run("sbatch", "--parsable", log, *options, *SCRIPT, *TINY, *overrides, f"output={folder}")


def facts(job):
    """Return what SLURM says of a job."""
    return dict(re.findall(r"(\w+)=(\S*)", run("scontrol", "show", "job", "--oneliner", job).splitlines()[0]))


def wait(condition, seconds=400):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain\n{run('squeue')}"
        time.sleep(0.5)


def wait_for_end(job):
    hastened = set()

    def ended():
        now = facts(job)
        if (now["JobState"], now["Reason"]) == ("PENDING", "BeginTime") and now["Restarts"] not in hastened:
            # instead of two minutes; a restart in the second of the kill is refused by the node
            run("scontrol", "update", f"JobId={job}", "StartTime=now+4seconds")
            hastened.add(now["Restarts"])
        return now["JobState"] in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "PREEMPTED")

    wait(ended)
    return facts(job)


def epochs(folder):
    """Return how many lines all the metrics beneath a folder have."""
    return sum(len(path.read_text().splitlines()) for path in folder.rglob("metrics.jsonl"))


def result(folder):
    """Return weights, momentum and metrics of the one run beneath a folder, without what times it."""
    (last,) = folder.rglob("last.pt")
    state = torch.load(last, weights_only=True)
    rows = [json.loads(line) for line in (last.parent / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"], row["images_per_second"]
    momentum = [entry["momentum_buffer"] for entry in state["optimizer"]["state"].values()]
    return {"model": [*state["model"].values()], "momentum": momentum, "rows": rows, "ranks": state["world_sizes"]}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Return a function: the result of an undisturbed job of so many nodes and epochs."""
    folder = tmp_path_factory.mktemp("unbroken")

    @functools.cache
    def train(nodes, epochs=6):
        here = folder / f"{nodes}-{epochs}"
        ended = wait_for_end(submit(here, f"recipe.epochs={epochs}", options=[f"--nodes={nodes}"]))
        assert (ended["JobState"], ended["NumNodes"], ended["Restarts"]) == ("COMPLETED", str(nodes), "0")
        found = result(here)
        assert found["ranks"] == [nodes]
        assert len(found["rows"]) == epochs
        return found

    return train


def admin_requeues(job):
    run("scontrol", "requeue", job)


def user_signals(job):
    run("scancel", "--signal=USR2", job)


def urgent_job_comes(job):
    other = run(
        "sbatch", "--parsable", "--partition=urgent", "--nodes=2", "--output=/dev/null", "--wrap", "srun sleep 5"
    )
    wait(lambda: facts(other)["JobState"] == "COMPLETED")


def time_runs_out(job):
    pass  # SLURM signals 20 to 50 s ahead of the minute, and 20 epochs take longer


@pytest.mark.parametrize(
    ("nodes", "count", "disturb", "options"),
    [
        (1, 6, admin_requeues, []),
        (1, 20, time_runs_out, ["--time=1", "--signal=B:USR2@20"]),
        (1, 6, urgent_job_comes, []),
        (2, 6, user_signals, []),
        (2, 6, urgent_job_comes, []),
    ],
)
def test_a_disturbed_job_ends_with_the_same_bits(tmp_path, unbroken, nodes, count, disturb, options):
    expected = unbroken(nodes, count)
    folder = tmp_path / "run"
    job = submit(folder, f"recipe.epochs={count}", options=[f"--nodes={nodes}", *options])
    wait(lambda: epochs(folder) >= 1)
    disturb(job)
    ended = wait_for_end(job)
    log = (tmp_path / "run.log").read_text()
    print(log)
    assert ended["JobState"] == "COMPLETED", log
    assert int(ended["Restarts"]) >= 1
    assert re.search(r"SIG\w+: saved epoch \d", log), log
    again = result(folder)
    assert again["rows"] == expected["rows"]
    assert again["ranks"] == [nodes]
    for part in ("model", "momentum"):
        for one, other in zip(again[part], expected[part], strict=True):
            assert torch.equal(one, other)
    assert not list(ROOT.glob("slurm-*.stopped"))


def test_a_cancelled_job_saves_and_stays_cancelled(tmp_path):
    job = submit(tmp_path / "run")
    wait(lambda: epochs(tmp_path / "run") >= 1)
    run("scancel", job)
    ended = wait_for_end(job)
    wait(lambda: "COMPLETING" not in run("squeue", "--noheader", "--states=all", "--jobs", job, "--format=%T"))
    assert "SIGTERM: saved" in (tmp_path / "run.log").read_text()
    assert (ended["JobState"], ended["Restarts"]) == ("CANCELLED", "0")
    assert facts(job)["JobState"] == "CANCELLED"


def test_an_array_fills_a_row(tmp_path):
    submit(tmp_path / "runs", "recipe.epochs=1", options=["--array=0-2"])
    wait(lambda: len(list((tmp_path / "runs").rglob("summary.json"))) == 3)
    table = run(sys.executable, "scripts/report.py", tmp_path / "runs", "--output", tmp_path / "report")
    print(table)
    (row,) = (line for line in table.splitlines() if "smoothmix_c" in line.lower())
    assert row.split()[1] == "3"
    assert sorted(path.parent.name for path in tmp_path.rglob("summary.json")) == ["seed0", "seed1", "seed2"]


def test_the_second_job_of_a_run_says_so_and_ends(tmp_path, unbroken):
    first = submit(tmp_path / "run")
    wait(lambda: epochs(tmp_path / "run") >= 1)
    run("mv", tmp_path / "run.log", tmp_path / "first.log")  # the first job goes on writing to it
    second = submit(tmp_path / "run")
    ended = wait_for_end(second)
    log = (tmp_path / "run.log").read_text()
    print(log)
    assert (ended["JobState"], ended["Restarts"]) == ("FAILED", "0")
    assert re.search(r"error: .* process \d+ on \S+", log)
    assert "epoch" not in log
    assert wait_for_end(first)["JobState"] == "COMPLETED"
    assert result(tmp_path / "run")["rows"] == unbroken(1)["rows"]


def test_a_table_is_submitted_once_and_filled(tmp_path):
    overrides = ["table=demo", "preset=quick", "source=generate", "launcher=slurm", f"output={tmp_path / 'out'}"]
    overrides += ["device=cpu", "model.alpha=3", f"sbatch=--output={tmp_path}/%x.log"]
    own = ("table=", "preset=", "source=", "launcher=", "sbatch=")
    of_runs = tuple(word for word in overrides if not word.startswith(own))
    runs = {one.row: one.directory for one in table_runs(load_table("demo"), "quick", of_runs)}
    runs["Cutout"].mkdir(parents=True)
    (runs["Cutout"] / "last.pt").write_bytes(b"no checkpoint")

    def reproduce(*more):
        text = run(sys.executable, "scripts/reproduce.py", *overrides, *more)
        print(text)
        return text

    def column(name):
        lines = [line.split() for line in reproduce("--status").splitlines()]
        place = lines[0].index(name)
        return {line[1] for line in lines if len(line) > place and line[place] == "1/1"}

    assert reproduce().splitlines()[-1] == "12 jobs submitted"
    assert reproduce().splitlines()[-1] == "0 jobs submitted"
    assert len(column("queued") | column("running")) >= 4
    wait(lambda: not run("squeue", "--me", "--noheader"))
    assert column("done") == runs.keys() - {"Cutout"}
    assert column("failed") == {"Cutout"}
    assert re.search(r"failed: Cutout seed 0: .*last\.pt .* \(job \d+; see \S+\.log\)", reproduce("--status"))
    (runs["Cutout"] / "last.pt").unlink()
    assert reproduce().splitlines()[-1] == "2 jobs submitted"
    wait(lambda: not run("squeue", "--me", "--noheader"))
    assert column("done") == runs.keys()
    assert reproduce().splitlines()[-1] == "0 jobs submitted"


def test_data_is_unpacked_on_the_node(tmp_path):
    for split in ("train", "val"):
        for name in ("dark", "light"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(8):
                Image.fromarray(np.full((32, 32, 3), 10 + i + 150 * (name == "light"), np.uint8)).save(
                    folder / f"{i}.png"
                )
    archive = tmp_path / "images.tar"
    run("tar", "-cf", archive, "-C", tmp_path / "images", ".")
    overrides = ["dataset=folder", "dataset.name=grey", "dataset.image_size=32", "recipe.epochs=1"]
    overrides += ["recipe.batch_size=4", "dataset.workers=0"]
    job = submit(tmp_path / "run", *overrides, options=[f"--export=ALL,STAGE={archive}"])
    assert wait_for_end(job)["JobState"] == "COMPLETED", (tmp_path / "run.log").read_text()
    (config,) = (tmp_path / "run").rglob("config.yaml")
    assert f"root: /tmp/smoothmix-{job}" in config.read_text()
    assert not Path(f"/tmp/smoothmix-{job}").exists()
