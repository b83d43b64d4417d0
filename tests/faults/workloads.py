"""What is killed: small uses of the project's commands, with the moments to kill them at, and the state they end in."""

import csv
import hashlib
import http.server
import json
import logging
import os
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from scripts.reproduction.tables import load_table, table_runs
from smoothmix.training import checkpoint
from tests.faults import points
from tests.faults.points import Point
from tests.scripts import hand_made

ROOT = Path(__file__).resolve().parents[2]
TIMES = {"seconds", "training_seconds", "images_per_second", "starts"}  # clocks and starts: all that may differ
TINY = ["dataset.val_split=1200", "recipe.batch_size=64", "recipe.epochs=3", "recipe.decay_epochs=[2]"]
TINY += ["model.depth=8", "model.alpha=3", "mixing=smoothmix_c", "checkpoint_every=2", "log_every=1"]


@dataclass(frozen=True)
class Workload:
    """A use of a command in an empty folder.

    Attributes:
        run: does it, in a child process of its own; called again, it resumes.
        points: the moments to kill it at, by name.
        prepare: makes what it starts from, once, in another folder; a copy is there when it begins.
    """

    run: Callable[[Path], None]
    points: dict[str, Point] = field(default_factory=dict)
    prepare: Callable[[Path], None] | None = None


def execute(script: str, *arguments: str) -> None:
    """Run a command of the repository in this process, as if it were typed; SystemExit tells of its failure."""
    sys.argv = [script, *arguments]
    runpy.run_path(str(ROOT / script), run_name="__main__")


def train(folder: Path) -> None:
    """Train three epochs of four steps, with checkpoints in between."""
    execute("train.py", *TINY, f"output={folder / 'runs'}")


def sweep(folder: Path) -> None:
    """Train three seeds, one after the other."""
    execute("train.py", "-m", "seed=0,1,2", *TINY, "recipe.epochs=1", "recipe.decay_epochs=[]", f"output={folder}")


def records(folder: Path) -> None:
    """Leave the records of Table 6, made by hand."""
    for cell in table_runs(load_table("6")):
        hand_made.write(folder / "records", cell)


def tables(folder: Path) -> None:
    """Make Table 6 from its records."""
    execute("scripts/make_tables.py", str(folder / "records"), "--table", "6", "--output", str(folder / "tables"))


def corrupt(folder: Path) -> None:
    """Write two corruptions of the digits in two worker processes, which have to end with this one."""
    corruptions = ["--corruptions", "contrast", "gaussian_noise"]
    output = ["--output", str(folder / "files")]
    execute("scripts/make_corruptions.py", "digits_c", *corruptions, *output, "--workers", "2")


def evaluate(folder: Path) -> None:
    """Evaluate a run on two generated corruptions."""
    (config,) = folder.rglob("config.yaml")
    asked = ["benchmark=digits_c", "source=generate", "corruptions=[contrast,gaussian_noise]"]
    execute("eval_corruption.py", f"run={config.parent}", *asked)


def fetch(folder: Path) -> None:
    """Download six pieces from a server on this machine."""
    from datasets.download import download

    body = _body()
    server = http.server.HTTPServer(("127.0.0.1", 0), _Handler)
    if os.fork() == 0:
        server.timeout = 60  # then nobody asks any more
        server.handle_request()
        os._exit(0)
    server.server_close()
    download(f"http://127.0.0.1:{server.server_port}/archive", folder / "archive", hashlib.md5(body).hexdigest())


def _body() -> bytes:
    return hashlib.shake_128(b"archive").digest(6 << 20)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves the archive from the byte that is asked for."""

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        body = _body()[int(asked[1]) if asked else 0 :]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


WORKLOADS = {
    "train": Workload(
        train,
        {
            "inside a step": points.in_a_step,
            "last.pt half written": points.half_written("last.pt"),
            "between writing and renaming last.pt": points.renaming("before", "last.pt"),
            "between the two renames of last.pt": points.renaming("after", "last.previous.pt"),
            "best.pt half written": points.half_written("best.pt"),
            "between the checkpoint and the metrics line": points.renaming("before", "metrics.jsonl"),
            "between the metrics line and the next checkpoint": points.renaming("after", "metrics.jsonl"),
            "metrics.jsonl half written": points.half_written("metrics.jsonl"),
            "a TensorBoard event half written": points.in_events,
            "the record half written": points.half_written("summary.json"),
        },
    ),
    "sweep": Workload(sweep, {"between two runs of a sweep": points.renaming("after", "summary.json")}),
    "tables": Workload(tables, {"a table half written": points.half_written("")}, records),
    "corrupt": Workload(corrupt),
    "evaluate": Workload(evaluate, {"the record of an evaluation half written": points.half_written(".json")}, train),
    "fetch": Workload(fetch, {"in a download": points.in_a_download}),
}


def state(folder: Path) -> dict[str, Any]:
    """Return what is in `folder`, by path: contents that compare equal if and only if nothing but times differs."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if "/tensorboard" in name:
            if path.is_dir():
                found[name] = _events(path)
        elif path.is_file() and not path.name.endswith(".lock"):
            found[name] = _content(path)
    return found


def _content(path: Path) -> Any:
    if path.suffix == ".pt":
        return _plain(checkpoint.load(path))
    if path.suffix == ".json":
        return _plain(json.loads(path.read_text()))
    if path.name == "metrics.csv":
        return [_plain(line) for line in csv.DictReader(path.read_text().splitlines())]
    if path.suffix == ".jsonl":
        return [_plain(json.loads(line)) for line in path.read_text().splitlines()]
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _plain(value: Any) -> Any:
    """Return `value` without times; tensors as their type, shape and bytes."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in TIMES}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    return value


def _events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the curves as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it warns that events were dropped, as they should be
    board = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    board.Reload()
    curves = [name for name in board.Tags()["scalars"] if name.rpartition("/")[2] not in TIMES]
    return {name: [(event.step, event.value) for event in board.Scalars(name)] for name in sorted(curves)}


def copy(source: Path, folder: Path) -> None:
    """Make `folder` a copy of `source`, or an empty one if there is no `source`."""
    shutil.rmtree(folder, ignore_errors=True)
    if source.is_dir():
        shutil.copytree(source, folder)
    else:
        folder.mkdir()
