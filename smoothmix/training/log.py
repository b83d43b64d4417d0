"""What a run tells: metrics per epoch as JSON lines, TensorBoard, a picture, a progress bar or plain lines."""

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
from PIL import Image
from tqdm import tqdm

from smoothmix.training.state import TrainingState, best_row
from smoothmix.utils.command import override, shell_command
from smoothmix.utils.files import replacing, write_text
from smoothmix.utils.records import RunRecord

SECONDS_BETWEEN_LINES = 30.0
PICTURE = "mixed_batch.png"
PROJECT = "smoothmix"  # of trackers


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
    """The log of rank 0, in `directory`; on the other ranks every method does nothing.

    TensorBoard's axis is the step. The metrics of epochs are there again by epoch, as the run `by_epoch`.

    Args:
        directory: of the run.
        state: what is told of.
        epochs, steps: of the run, and of an epoch.
        tracker: what gets the metrics of epochs, too.
    """

    def __init__(self, directory: Path, state: TrainingState, epochs: int, steps: int, tracker: Tracker) -> None:
        self.directory, self.state, self.epochs, self.steps, self.tracker = directory, state, epochs, steps, tracker
        self._error = f"{state.select_on}_top1_error"
        self._bar: Any = None
        self._boards: list[Any] = []  # SummaryWriters by step and by epoch, on rank 0
        self._line_due = time.monotonic() + SECONDS_BETWEEN_LINES

    def begin(self, images: int) -> None:
        """Say what is to be done, and make the files agree with the checkpoint: later lines and events are dropped.

        At an epoch's start the last epoch's events are written again, since the process may have ended between the
        checkpoint and them.
        """
        state, folder = self.state, self.directory / "tensorboard"
        if not state.ranks.is_main:
            return
        print(f"{self.epochs * self.steps} steps in all: {self.steps} per epoch of {images} images", flush=True)
        if state.step:
            print(f"resuming from epoch {state.epoch + 1}, step {state.step} of {self.steps}", flush=True)
        elif state.epoch:
            print(f"resuming from the end of epoch {state.epoch} of {self.epochs}", flush=True)
        from torch.utils.tensorboard import SummaryWriter  # 0.5 s

        self._write_history()
        started = state.step > 0
        places = ((folder, self._global_step()), (folder / "by_epoch", state.epoch))
        self._boards = [SummaryWriter(path, purge_step=position + started) for path, position in places]
        if state.history and not started:
            self._write_events()
        self.tracker.start()

    def begin_epoch(self) -> None:
        """Start the bar of the epoch."""
        if self._boards and sys.stderr.isatty():
            name = f"epoch {self.state.epoch + 1}/{self.epochs}"
            self._bar = tqdm(total=self.steps, initial=self.state.step, desc=name, leave=False)

    def step(self) -> None:
        """Move the bar on; nothing is read from the device."""
        if self._bar is not None:
            self._bar.update()

    def loss(self, loss: float) -> None:
        """Report the mean loss of the epoch so far."""
        if not self._boards:
            return
        epoch, step = self.state.epoch + 1, self.state.step
        if step < self.steps:  # the epoch's own mean comes at its end
            self._boards[0].add_scalar("train/loss_so_far", loss, self._global_step())
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.2f}", refresh=False)
        elif time.monotonic() >= self._line_due:
            print(f"epoch {epoch}/{self.epochs}  step {step}/{self.steps}  loss {loss:.2f}", flush=True)
            self._line_due = time.monotonic() + SECONDS_BETWEEN_LINES

    def needs_picture(self, every: int) -> bool:
        """Return whether a mixed batch is shown: at the first step, and at multiples of `every` unless it is 0."""
        step = self._global_step()
        return bool(self._boards) and (step == 0 or (every > 0 and step % every == 0))

    def picture(self, png: bytes) -> None:
        """Show a mixed batch."""
        with replacing(self.directory / PICTURE, "wb") as file:
            file.write(png)
        pixels = numpy.asarray(Image.open(BytesIO(png)))
        self._boards[0].add_image("mixed batch", pixels, self._global_step(), dataformats="HWC")

    def end_epoch(self) -> None:
        """Write the epoch that has just ended."""
        if not self._boards:
            return
        self.close_bar()
        self._write_history()
        self._write_events()
        row = self.state.history[-1]
        self.tracker.log({grouped(name): value for name, value in row.items()}, row["epoch"])
        print(self._line(row), flush=True)
        self._line_due = time.monotonic() + SECONDS_BETWEEN_LINES

    def _line(self, row: dict[str, Any]) -> str:
        history, error = self.state.history, ""
        if (best := best_row(history, self.state.select_on)) and self._error in row:
            of_val = "val " * (self.state.select_on == "val")
            error = f"  {of_val}error {row[self._error]:.1f} (best {best[self._error]:.1f})"
            if best is row and sys.stdout.isatty():
                error = f"\033[1m{error}\033[0m"  # bold
        seconds = sum(earlier["seconds"] for earlier in history) / len(history) * (self.epochs - row["epoch"])
        return (
            f"epoch {row['epoch']}/{self.epochs}  loss {row['train_loss']:.2f}{error}"
            f"  {row['images_per_second']:.0f} img/s{f'  {clock(seconds)} left' if seconds else ''}"
        )

    def end_run(self, config: dict[str, Any]) -> None:
        """Write the hyper-parameters with the errors of the best and of the last epoch, each a curve of one point."""
        if self._boards:
            rows = {"best": best_row(self.state.history, self.state.select_on) or {}, "last": self.state.history[-1]}
            errors = {f"{when}/{name}": row[name] for when, row in rows.items() for name in row if "error" in name}
            values = dict(_flat(config))
            self._boards[0].add_hparams(values, errors, run_name=".", global_step=self._global_step())

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

    def _global_step(self) -> int:
        return self.state.epoch * self.steps + self.state.step

    def _write_events(self) -> None:
        row = self.state.history[-1]
        for board, step in zip(self._boards, (self._global_step(), row["epoch"]), strict=True):
            for name, value in row.items():
                if name != "epoch":
                    board.add_scalar(grouped(name), value, step)
            board.flush()

    def _write_history(self) -> None:
        lines = "".join(json.dumps(row) + "\n" for row in self.state.history)
        write_text(self.directory / "metrics.jsonl", lines)


def closing_line(record: RunRecord, path: Path, num_classes: int) -> str:
    """Return what a finished run ends with: its test errors, where its record is, and the next command."""
    errors = []
    for when in ("last", "best"):
        top5 = f" (top-5 {record.error(when, 5):.2f}%)" if num_classes > 5 else ""
        errors.append(f"{when} {record.error(when):.2f}%{top5}")
    command = shell_command(["python", "eval_corruption.py", override("run", str(path.parent))])
    return f"done: top-1 error {', '.join(errors)}; record: {path}; next: {command}"


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds, ``4:05``, or with hours, ``12:04:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


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
