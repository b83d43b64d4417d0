"""What a run tells: metrics per epoch as JSON lines and CSV, TensorBoard, a picture, a progress bar or plain lines."""

import csv
import importlib
import io
import json
import os
import re
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from tqdm import tqdm

from smoothmix.utils.errors import UserError
from smoothmix.utils.files import replacing, write_text

SECONDS_BETWEEN_LINES = 30.0
PICTURE = "mixed_batch.png"
PROJECT = "smoothmix"  # of trackers


class EventFile:
    """A new TensorBoard event file in `folder`; events from step `first_dropped` on in older ones no longer count.

    TensorBoard reads the files in the order of their names. torch's SummaryWriter names them by the clock, so that the
    curves end where the clock was set back; and it writes in a thread, whose error on a full disk is a traceback. Here
    a name is above all that are there, and an error comes where it was made.

    Raises:
        UserError: the file system refuses (so do all methods).
    """

    def __init__(self, folder: Path, first_dropped: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2  # 0.1 s
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = event_pb2, summary_pb2
        self.path = folder
        with self._refusing():
            folder.mkdir(exist_ok=True)
            names = (re.match(r"events\.out\.tfevents\.(\d{1,19})\.", path.name) for path in folder.iterdir())
            number = max([time.time_ns(), *(int(name[1]) + 1 for name in names if name)])
            self.path = folder / f"events.out.tfevents.{number}.{socket.gethostname()}.{os.getpid()}"
            self._file = open(self.path, "xb")  # noqa: SIM115 (closed by `close`)
        self._records = RecordWriter(self._file)
        self._write(step=first_dropped, file_version="brain.Event:2")
        self._write(step=first_dropped, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add a point to the curve `name`."""
        point = self._summary.Summary.Value(tag=name, simple_value=value)
        self._write(step=step, summary=self._summary.Summary(value=[point]))

    def image(self, name: str, png: bytes, step: int) -> None:
        """Add a picture."""
        width, height = struct.unpack(">II", png[16:24])
        image = self._summary.Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=png)
        point = self._summary.Summary.Value(tag=name, image=image)
        self._write(step=step, summary=self._summary.Summary(value=[point]))

    def hyper_parameters(self, values: dict[str, Any], results: dict[str, float], step: int) -> None:
        """Add the hyper-parameters of a run and its `results`, each a curve of one point, for TensorBoard's HParams."""
        from torch.utils.tensorboard.summary import hparams

        for name, value in results.items():
            self.scalar(name, value, step)
        for summary in hparams(values, results):  # type: ignore[no-untyped-call]
            self._write(step=step, summary=summary)

    def flush(self) -> None:
        """Hand what was added to the operating system."""
        with self._refusing():
            self._file.flush()

    def close(self) -> None:
        """End the file."""
        with self._refusing():
            self._file.close()

    def _write(self, **event: object) -> None:
        with self._refusing():
            self._records.write(self._event.Event(wall_time=time.time(), **event).SerializeToString())

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            sentence = f"cannot write {self.path} ({error}); free space or fix its folder, and run again"
            raise UserError(sentence) from error


class Tracker:
    """Sends metrics to wandb, to trackio, which has the same interface and keeps its data local, or to none.

    Whatever it raises becomes one note, after which nothing more is sent.

    Args:
        package: one of `recipe.TRACKERS`, installed or not.
        name: of the run: its directory, so that a resumed run continues its curves.
        config: hyper-parameters, shown beside the curves.
    """

    def __init__(self, package: str, name: str, config: dict[str, Any]) -> None:
        self.package, self.name, self.config = package, name, config
        self._module: Any = None

    def start(self) -> None:
        """Begin the run, or resume the one of this name."""

        def begin() -> None:
            module = importlib.import_module(self.package)
            # trackio knows a run by its name alone, wandb by an id without slashes
            identity = {"id": self.name.replace("/", "-")} if self.package == "wandb" else {}
            module.init(project=PROJECT, name=self.name, config=self.config, resume="allow", **identity)
            self._module = module

        if self.package != "none":
            self._attempt(begin)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Send the metrics of an epoch."""
        if self._module is not None:
            self._attempt(lambda: self._module.log(metrics, step=step))

    def finish(self) -> None:
        """End the run."""
        if self._module is not None:
            self._attempt(lambda: self._module.finish())

    def _attempt(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except ModuleNotFoundError as error:
            self._give_up(f"{error.name} is not installed: pip install {self.package}")
        except Exception as error:  # a tracker must never end a run, whatever it raises
            self._give_up(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")

    def _give_up(self, reason: str) -> None:
        self._module = None
        print(f"note: logger={self.package} stopped ({reason}); the training goes on without it", flush=True)


class RunLog:
    """The log of rank 0, in `directory`; on the other ranks (`active=False`) every method does nothing.

    TensorBoard's axis is the step. The metrics of epochs are there again by epoch, as the run `by_epoch`.
    """

    def __init__(self, directory: Path, epochs: int, active: bool, tracker: Tracker) -> None:
        self.directory = directory
        self.epochs = epochs
        self.active = active
        self.tracker = tracker
        self._bar: Any = None
        self._boards: list[EventFile] = []  # by step, by epoch
        self._best = ""
        self._line_due = time.monotonic() + SECONDS_BETWEEN_LINES

    def begin(self, history: list[dict[str, Any]], global_step: int, in_epoch: bool) -> None:
        """Make the files agree with the checkpoint: later lines and events are dropped.

        At an epoch's start (`in_epoch` false) the last epoch's events are written again, since the process may have
        ended between the checkpoint and them.
        """
        if not self.active:
            return
        self._write_history(history)
        folder, dropped = self.directory / "tensorboard", (global_step + in_epoch, len(history) + in_epoch)
        self._boards = [EventFile(folder, dropped[0]), EventFile(folder / "by_epoch", dropped[1])]
        if history and not in_epoch:
            self._write_events(history[-1], global_step)
        self.tracker.start()

    def begin_epoch(self, epoch: int, step: int, steps: int) -> None:
        """Start the bar of `epoch` (from 0), of which `step` out of `steps` are done."""
        if self.active and sys.stderr.isatty():
            self._bar = tqdm(total=steps, initial=step, desc=f"epoch {epoch + 1}/{self.epochs}", leave=False)

    def step(self, epoch: int, step: int, steps: int, global_step: int, loss: float) -> None:
        """Report the mean loss of the epoch so far, at a log step."""
        if not self._boards:
            return
        if step < steps:  # the epoch's own mean comes at its end
            self._boards[0].scalar("train/loss_so_far", loss, global_step)
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.3f}{self._best}", refresh=False)
            self._bar.update(step - self._bar.n)
        elif time.monotonic() >= self._line_due:
            print(f"epoch {epoch + 1}/{self.epochs}  step {step}/{steps}  loss {loss:.3f}", flush=True)
            self._line_due = time.monotonic() + SECONDS_BETWEEN_LINES

    def needs_picture(self, global_step: int, every: int) -> bool:
        """Return whether a mixed batch is shown: at the first step, and at multiples of `every` unless it is 0."""
        return bool(self._boards) and (global_step == 0 or (every > 0 and global_step % every == 0))

    def picture(self, png: bytes, global_step: int) -> None:
        """Show a mixed batch."""
        with replacing(self.directory / PICTURE, "wb") as file:
            file.write(png)
        self._boards[0].image("mixed batch", png, global_step)

    def end_epoch(self, history: list[dict[str, Any]], global_step: int, best_error: float | None) -> None:
        """Write the epoch that `history` ends with; `best_error` is the lowest top-1 error so far in %, if any."""
        if not self._boards:
            return
        self.close_bar()
        row = history[-1]
        self._write_history(history)
        self._write_events(row, global_step)
        self.tracker.log({grouped(name): value for name, value in row.items()}, row["epoch"])
        self._best = "" if best_error is None else f"  best {best_error:.2f}%"
        errors = "".join(f"  {name} {value:.2f}%" for name, value in row.items() if name.endswith("_error"))
        left = sum(earlier["seconds"] for earlier in history) / len(history) * (self.epochs - row["epoch"])
        ends = f"  {timedelta(seconds=round(left))} left" if left else ""
        print(
            f"epoch {row['epoch']}/{self.epochs}  lr {row['lr']:g}  train loss {row['train_loss']:.3f}{errors}"
            f"{self._best}  {row['images_per_second']:.0f} images/s{ends}",
            flush=True,
        )
        self._line_due = time.monotonic() + SECONDS_BETWEEN_LINES

    def end_run(self, config: dict[str, Any], rows: dict[str, dict[str, Any]], global_step: int) -> None:
        """Write the hyper-parameters with the final errors; `rows` are the metrics of the "best" and "last" epoch."""
        if self._boards:
            errors = {f"{when}/{name}": row[name] for when, row in rows.items() for name in row if "error" in name}
            self._boards[0].hyper_parameters(dict(_flat(config)), errors, global_step)

    def flush(self) -> None:
        """Hand the events to the operating system; done at each checkpoint, which later events build on."""
        for board in self._boards:
            board.flush()

    def close_bar(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def close(self) -> None:
        """End the log."""
        self.close_bar()
        for board in self._boards:
            board.close()
        self.tracker.finish()

    def _write_events(self, row: dict[str, Any], global_step: int) -> None:
        for board, step in zip(self._boards, (global_step, row["epoch"]), strict=True):
            for name, value in row.items():
                if name != "epoch":
                    board.scalar(grouped(name), value, step)
            board.flush()

    def _write_history(self, history: list[dict[str, Any]]) -> None:
        write_text(self.directory / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in history))
        columns = dict.fromkeys(name for row in history for name in row)
        table = io.StringIO()
        writer = csv.DictWriter(table, [*columns], lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        write_text(self.directory / "metrics.csv", table.getvalue())


def grouped(name: str) -> str:
    """Return a metric's name with its group, as TensorBoard wants it: ``test/top1_error``, ``run/seconds``."""
    group, _, rest = name.partition("_")
    return f"{group}/{rest}" if group in ("train", "val", "test") else f"run/{name}"


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str | int | float | bool) else str(value)
