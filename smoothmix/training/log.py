"""What a run tells: a JSON line per epoch, TensorBoard, a progress bar or plain lines."""

import json
import os
import re
import socket
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from smoothmix.utils.errors import UserError
from smoothmix.utils.files import write_text

SECONDS_BETWEEN_LINES = 30.0


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
        try:
            folder.mkdir(exist_ok=True)
            names = (re.match(r"events\.out\.tfevents\.(\d{1,19})\.", path.name) for path in folder.iterdir())
            number = max([time.time_ns(), *(int(name[1]) + 1 for name in names if name)])
            self.path = folder / f"events.out.tfevents.{number}.{socket.gethostname()}.{os.getpid()}"
            self._file = open(self.path, "xb")  # noqa: SIM115 (closed by `close`)
        except OSError as error:
            raise self._refused(error) from error
        self._records = RecordWriter(self._file)
        self._write(step=first_dropped, file_version="brain.Event:2")
        self._write(step=first_dropped, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add a point to the curve `name`."""
        point = self._summary.Summary.Value(tag=name, simple_value=value)
        self._write(step=step, summary=self._summary.Summary(value=[point]))

    def flush(self) -> None:
        """Hand what was added to the operating system."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """End the file."""
        try:
            self._file.close()
        except OSError as error:
            raise self._refused(error) from error

    def _write(self, **event: object) -> None:
        try:
            self._records.write(self._event.Event(wall_time=time.time(), **event).SerializeToString())
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> UserError:
        return UserError(f"cannot write {self.path} ({error}); free space or fix its folder, and run again")


class RunLog:
    """The log of rank 0, in `directory`; on the other ranks (`active=False`) every method does nothing."""

    def __init__(self, directory: Path, epochs: int, active: bool) -> None:
        self.directory = directory
        self.epochs = epochs
        self.active = active
        self._bar: Any = None
        self._board: EventFile | None = None
        self._line_due = time.monotonic() + SECONDS_BETWEEN_LINES

    def begin(self, history: list[dict[str, Any]], global_step: int, in_epoch: bool) -> None:
        """Make the files agree with the checkpoint: later lines and events are dropped.

        At an epoch's start (`in_epoch` false) the last epoch's events are written again, since the process may have
        ended between the checkpoint and them.
        """
        if not self.active:
            return
        self._write_history(history)
        first_dropped = global_step + in_epoch
        self._board = EventFile(self.directory / "tensorboard", first_dropped)
        if history and not in_epoch:
            self._write_events(self._board, history[-1], global_step)

    def begin_epoch(self, epoch: int, step: int, steps: int) -> None:
        """Start the bar of `epoch` (from 0), of which `step` out of `steps` are done."""
        if self.active and sys.stderr.isatty():
            self._bar = tqdm(total=steps, initial=step, desc=f"epoch {epoch + 1}/{self.epochs}", leave=False)

    def step(self, epoch: int, step: int, steps: int, global_step: int, loss: float) -> None:
        """Report the mean loss of the epoch so far, at a log step."""
        if self._board is None:
            return
        if step < steps:  # the epoch's own mean comes at its end
            self._board.scalar("train_loss_so_far", loss, global_step)
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            self._bar.update(step - self._bar.n)
        elif time.monotonic() >= self._line_due:
            print(f"epoch {epoch + 1}/{self.epochs}  step {step}/{steps}  loss {loss:.3f}", flush=True)
            self._line_due = time.monotonic() + SECONDS_BETWEEN_LINES

    def end_epoch(self, history: list[dict[str, Any]], global_step: int) -> None:
        """Write the epoch that `history` ends with."""
        if self._board is None:
            return
        self.close_bar()
        row = history[-1]
        self._write_history(history)
        self._write_events(self._board, row, global_step)
        errors = "  ".join(f"{name} {value:.2f}%" for name, value in row.items() if name.endswith("_error"))
        print(
            f"epoch {row['epoch']}/{self.epochs}  lr {row['lr']:g}  train loss {row['train_loss']:.3f}  {errors}  "
            f"{row['images_per_second']:.0f} images/s",
            flush=True,
        )
        self._line_due = time.monotonic() + SECONDS_BETWEEN_LINES

    def flush(self) -> None:
        """Hand the events to the operating system; done at each checkpoint, which later events build on."""
        if self._board is not None:
            self._board.flush()

    def close_bar(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def close(self) -> None:
        """End the log."""
        self.close_bar()
        if self._board is not None:
            self._board.close()

    def _write_events(self, board: EventFile, row: dict[str, Any], global_step: int) -> None:
        for name, value in row.items():
            if name != "epoch":
                board.scalar(name, value, global_step)
        board.flush()

    def _write_history(self, history: list[dict[str, Any]]) -> None:
        write_text(self.directory / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in history))
