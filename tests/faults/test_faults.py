"""Killed by SIGKILL at named and at random moments, and started again, a command ends as if nothing had been.

A named moment is a patch of what the program calls, in the process that is to die: it calls `hit` there, and `hit` may
spoil a file first, as a kill in the midst of a write would.
"""

import hashlib
import http.server
import json
import logging
import os
import random
import re
import runpy
import shutil
import signal
import statistics
import sys
import time
from functools import cache, partial, wraps
from pathlib import Path

import pytest
import torch
from torch import nn

from smoothmix.training import checkpoint
from tests.commands import ROOT, Command

pytestmark = pytest.mark.slow
KILLS = 4  # at each point
MAY_DIFFER = {"seconds", "training_seconds", "images_per_second", "starts", "git_commit"}
TINY = ["dataset.val_split=1200", "recipe.batch_size=64", "recipe.epochs=3", "recipe.decay_epochs=[2]"]
TINY += ["model.depth=8", "model.alpha=3", "mixing=smoothmix_c", "checkpoint_every=2", "log_every=1"]

# ---- what is killed: each is done in an empty folder, or in a copy of what PREPARED makes; called again, it resumes


def execute(script, *arguments):
    sys.argv = [script, *arguments]
    runpy.run_path(str(ROOT / script), run_name="__main__")


def train(folder):
    execute("train.py", *TINY, f"output={folder / 'runs'}")


def sweep(folder):
    execute("train.py", "-m", "seed=0,1,2", *TINY, "recipe.epochs=1", "recipe.decay_epochs=[]", f"output={folder}")


def records(folder):
    from scripts.reproduction.tables import load_table, table_runs
    from tests.scripts import hand_made

    for cell in table_runs(load_table("6")):
        hand_made.write(folder / "records", cell)


def tables(folder):
    execute("scripts/report.py", str(folder / "records"), "table=6", "--output", str(folder / "tables"))


def corrupt(folder):
    """In two worker processes, which have to end with this one."""
    corruptions = ["--corruptions", "contrast", "gaussian_noise"]
    output = ["--output", str(folder / "files")]
    execute("scripts/make_corruptions.py", "digits_c", *corruptions, *output, "--workers", "2")


def evaluate(folder):
    (config,) = folder.rglob("config.yaml")
    asked = ["benchmark=digits_c", "source=generate", "corruptions=[contrast,gaussian_noise]"]
    execute("eval_corruption.py", f"run={config.parent}", *asked)


def fetch(folder):
    """Download six pieces from a server on this machine."""
    from datasets.download import download

    server = http.server.HTTPServer(("127.0.0.1", 0), Archive)
    if os.fork() == 0:
        server.timeout = 60  # then nobody asks any more
        server.handle_request()
        os._exit(0)
    server.server_close()
    address = f"http://127.0.0.1:{server.server_port}/archive"
    download(address, folder / "archive", hashlib.md5(Archive.body()).hexdigest())


class Archive(http.server.BaseHTTPRequestHandler):
    @staticmethod
    def body():
        return hashlib.shake_128(b"archive").digest(6 << 20)

    def do_GET(self):
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        rest = self.body()[int(asked[1]) if asked else 0 :]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest)


WORK = {work.__name__: work for work in (train, sweep, tables, corrupt, evaluate, fetch)}
PREPARED = {"tables": records, "evaluate": train}

# ---- when


def around(owner, name, before=lambda *_: None, after=lambda *_: None):
    """Let `owner.name` call `before` and `after` with its arguments too."""
    original = getattr(owner, name)

    @wraps(original)
    def patched(*args, **kwargs):
        before(*args)
        result = original(*args, **kwargs)
        after(*args)
        return result

    setattr(owner, name, patched)


def in_a_step(hit):
    around(torch.Tensor, "backward", after=lambda *_: hit())


def half_written(name, hit):
    """A file that is written beside its target, `name` or what ends so, has half of its bytes."""
    part = re.compile(rf".*{re.escape(name)}\.[0-9a-f]{{16}}\.part")

    def halve(file):
        if part.fullmatch(os.readlink(f"/proc/self/fd/{file}")):
            hit(lambda: os.ftruncate(file, os.fstat(file).st_size // 2))

    around(os, "fsync", before=halve)


def renaming(when, name, hit):
    """A new file is written: "before" it takes its name, or just "after" it has."""
    around(os, "replace", **{when: lambda _, target: hit() if str(target).endswith("/" + name) else None})


def in_events(hit):
    """Half of a TensorBoard event is in its file."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    def halve(records, event):
        path = records._writer.filename
        hit(lambda: os.truncate(path, os.path.getsize(path) - len(event) // 2))

    around(RecordWriter, "write", after=halve)


def in_a_download(hit):
    around(http.client.HTTPResponse, "read1", after=lambda *_: hit())


POINTS = {
    "inside a step": ("train", in_a_step),
    "last.pt half written": ("train", partial(half_written, "last.pt")),
    "between writing and renaming last.pt": ("train", partial(renaming, "before", "last.pt")),
    "between the two renames of last.pt": ("train", partial(renaming, "after", "last.previous.pt")),
    "between last.pt and best.pt": ("train", partial(renaming, "before", "best.pt")),
    "best.pt half written": ("train", partial(half_written, "best.pt")),
    "between the checkpoint and the metrics line": ("train", partial(renaming, "before", "metrics.jsonl")),
    "between the metrics line and the next checkpoint": ("train", partial(renaming, "after", "metrics.jsonl")),
    "metrics.jsonl half written": ("train", partial(half_written, "metrics.jsonl")),
    "a TensorBoard event half written": ("train", in_events),
    "the record half written": ("train", partial(half_written, "summary.json")),
    "between two runs of a sweep": ("sweep", partial(renaming, "after", "summary.json")),
    "a table half written": ("tables", partial(half_written, "")),
    "the record of an evaluation half written": ("evaluate", partial(half_written, ".json")),
    "in a download": ("fetch", in_a_download),
    "a training at a random moment": ("train", None),
    "corruptions at a random moment": ("corrupt", None),
}


def child(*arguments):
    code = "import sys; from tests.faults.test_faults import main; main(*sys.argv[1:])"
    return Command("-c", code, *arguments, merged=True)


def main(work, folder, point="", at="0", counts=""):
    """Do `work` in a child process: count how often each of its points comes, or die the `at`-th time that one does."""
    passed = dict.fromkeys(POINTS, 0)

    def hit(name, spoil=lambda: None):
        passed[name] += 1
        if passed[name] == int(at):
            spoil()
            os.kill(os.getpid(), signal.SIGKILL)

    for name, (of, install) in POINTS.items():
        if install is not None and of == work and (counts or name == point):
            install(partial(hit, name))
    try:
        (WORK | {"records": records})[work](Path(folder))
    finally:
        if counts:
            Path(counts).write_text(json.dumps(passed))


# ---- the test


class Bench:
    """What a work comes to when nobody kills it, how often to each point, and in which time. One folder for all."""

    def __init__(self, base, work):
        self.work, self.folder, self.before = work, base / "work", base / f"{work}-before"
        self.reset()
        if work in PREPARED:
            self.finish(PREPARED[work].__name__)
            shutil.copytree(self.folder, self.before)
        start, counts = time.monotonic(), base / "counts.json"
        self.finish(work, "", "0", counts)
        self.seconds, self.passed = time.monotonic() - start, json.loads(counts.read_text())
        self.unbroken = state(self.folder)

    def reset(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.before.exists():
            shutil.copytree(self.before, self.folder)
        else:
            self.folder.mkdir()

    def finish(self, work, *options):
        process = child(work, self.folder, *options)
        said, _ = process.communicate(600)
        assert process.returncode == 0, said


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return cache(partial(Bench, tmp_path_factory.mktemp("kills")))


@pytest.mark.parametrize("point", POINTS)
def test_killed_and_started_again_it_ends_as_the_unbroken_run(bench, point):
    work, install = POINTS[point]
    made, draw = bench(work), random.Random(point)
    for _ in range(KILLS):
        made.reset()
        if install is None:
            process, moment = child(work, made.folder), draw.uniform(0, made.seconds)
            time.sleep(moment)
            process.kill()
            assert process.wait(60) in (0, -signal.SIGKILL)
        else:
            moment = draw.randint(1, made.passed[point])
            assert child(work, made.folder, point, moment).wait(600) == -signal.SIGKILL
        made.finish(work)
        found = state(made.folder)
        differing = [name for name in found.keys() | made.unbroken if found.get(name) != made.unbroken.get(name)]
        assert differing == [], moment


def state(folder):
    """Return what is in `folder`, by path: contents that are equal if and only if nothing but times differs."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if "/tensorboard" in name:
            found |= {name: events(path)} if path.is_dir() else {}
        elif path.is_file() and not path.name.endswith(".lock"):
            found[name] = content(path)
    return found


def content(path):
    if path.suffix == ".pt":
        return plain(checkpoint.load(path))
    if path.suffix in (".json", ".jsonl"):
        lines = [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines()
        return [plain(json.loads(line)) for line in lines]
    return hashlib.sha256(path.read_bytes()).hexdigest()


def plain(value):
    """Return `value` without times; tensors as their type, shape and bytes."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in MAY_DIFFER}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    return value


def events(folder):
    """Return the curves as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it warns that events were dropped, as they should be
    board = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    board.Reload()
    curves = [name for name in board.Tags()["scalars"] if name.rpartition("/")[2] not in MAY_DIFFER]
    return {name: [(event.step, event.value) for event in board.Scalars(name)] for name in sorted(curves)}


# ---- a long run


def test_nothing_grows_in_a_long_run(tmp_path):
    """6,000 steps of a trivial network with checkpoints and logs, the first fifth ignored: pools fill up in it."""
    from datasets import digits
    from smoothmix import SmoothMixC
    from smoothmix.training.recipe import Recipe, Settings
    from smoothmix.training.trainer import Trainer
    from smoothmix.utils.distributed import ONE_RANK

    samples, generator = [], torch.Generator()
    mixing = SmoothMixC(num_classes=10, generator=generator)

    def watched(images, labels):
        if trainer.state.step % 30 == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            counts = [len(os.listdir(f"/proc/self/{what}")) for what in ("fd", "task")]
            files = [path for path in tmp_path.rglob("*") if path.is_file()]
            size = sum(path.stat().st_size for path in files)
            samples.append((pages * os.sysconf("SC_PAGE_SIZE"), size, time.monotonic(), *counts, len(files)))
        return mixing(images, labels)

    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.AdaptiveAvgPool2d(3),
        nn.Flatten(), nn.Linear(36, 10),
    )  # fmt: skip
    recipe = Recipe(name="soak", epochs=33, batch_size=8, lr=0.01)
    settings = Settings(checkpoint_every=100, log_every=50)
    trainer = Trainer(network, watched, digits(), recipe, settings, tmp_path, ONE_RANK, generator, {})
    trainer.fit()
    resident, size, clock, *counts = zip(*samples[len(samples) // 5 :], strict=True)
    steps = [30 * i for i in range(len(resident))]
    assert statistics.linear_regression(steps, resident).slope < 100  # bytes per step: 100 MB in a million
    assert statistics.linear_regression(steps, size).slope < 60  # a line and a row of scalars an epoch
    assert [max(count) - min(count) for count in counts] == [0, 0, 0]  # open files, threads, files of the run
    quarter = len(clock) // 4
    assert (clock[-1] - clock[-quarter]) / (clock[quarter] - clock[1]) < 2  # a busy machine
