"""A long run of a trivial network, watched for what grows: memory, open files, threads, folders, time per step."""

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from datasets import digits
from smoothmix import SmoothMixC
from smoothmix.training.recipe import Recipe, Settings
from smoothmix.training.trainer import Trainer
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError
from tests.faults import pages

SAMPLES = 200
WARM_UP = 0.2  # of the run, ignored: imports and allocator pools come in it
BATCH = 8
RESIDENT_BOUND = 100.0  # bytes per step, which is 100 MB in a million steps; a batch of the soak has 98,304 bytes
FOLDER_BOUND = 25.0  # bytes per step: a line and a row of scalars an epoch, a scalar every 50 steps
SLOWER_BOUND = 1.2  # last quarter / first quarter, fast windows of each


@dataclass(frozen=True)
class Sample:
    """What the process and its run directory hold before step `step`; sizes in bytes, times in seconds."""

    step: int
    seconds: float
    resident: int
    open_files: int
    threads: int
    files: int
    bytes: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write; Markdown goes beside it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, write the record; return 1 if anything is not flat."""
    torch.set_num_threads(1)
    facts = pages.machine(torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        record = facts | make_record(args.steps, soak(args.steps, Path(folder, "run")))
    pages.save(args.output, record, to_markdown)
    return int(not all(line["flat"] for line in record["verdicts"]))


def soak(steps: int, directory: Path, model: nn.Module | None = None) -> list[Sample]:
    """Train on the digits for at least `steps` steps of 8 images, with checkpoints and logs; return 200 samples.

    A checkpoint is written every 100 steps and at each epoch's end, the loss is read every 50.

    Args:
        steps: at least 200.
        directory: the run directory, made if it is not there.
        model: trained instead of the trivial network: 32x32 RGB images to 10 logits.

    Raises:
        UserError: too few steps, or no /proc to read the numbers from.
    """
    if steps < SAMPLES:
        raise UserError(f"--steps must be at least {SAMPLES}, one for each sample, not {steps}")
    if not Path("/proc/self/statm").exists():
        raise UserError("there is no /proc/self/statm on this system; the soak needs Linux")
    directory.mkdir(parents=True, exist_ok=True)
    data, generator = digits(), torch.Generator()
    mixing = SmoothMixC(num_classes=data.num_classes, generator=generator)
    samples: list[Sample] = []
    every = steps // SAMPLES

    def watched(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        step = trainer.state.epoch * len(trainer.batches) + trainer.state.step
        if step % every == 0 and len(samples) < SAMPLES:
            samples.append(sample(step, directory))
        return mixing(images, labels)

    epochs = -(-steps // -(-data.sizes["train"] // BATCH))
    recipe = Recipe(name="soak", epochs=epochs, batch_size=BATCH, lr=0.01)
    settings = Settings(checkpoint_every=100, log_every=50)
    trainer = Trainer(
        model or trivial_network(), watched, data, recipe, settings, directory, Ranks(torch.device("cpu")), generator,
        {"dataset": {"name": "digits"}},
    )  # fmt: skip
    trainer.fit()
    return samples


def trivial_network() -> nn.Module:
    """Return a network of 454 parameters with BatchNorm and dropout, always initialised alike."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1)]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 10))


def sample(step: int, directory: Path) -> Sample:
    """Return the numbers of this moment."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    files = [path for path in directory.rglob("*") if path.is_file()]
    return Sample(
        step,
        time.perf_counter(),
        resident,
        len(os.listdir("/proc/self/fd")) - 1,  # but the listing's own
        len(os.listdir("/proc/self/task")),
        len(files),
        sum(path.stat().st_size for path in files),
    )


def judge(samples: list[Sample]) -> list[dict[str, Any]]:
    """Return a line for everything that should be flat after the warm-up: what, measured, bound, unit, flat or not."""
    kept = samples[int(WARM_UP * len(samples)) :]
    windows = [
        (after.seconds - before.seconds) / (after.step - before.step) for before, after in itertools.pairwise(kept)
    ]
    quarter = len(windows) // 4
    slower = _fast(windows[-quarter:]) / _fast(windows[:quarter])
    lines = [
        ("resident memory, slope", _slope(kept, lambda one: one.resident), RESIDENT_BOUND, "bytes per step"),
        ("open files, most minus least", _range(kept, lambda one: one.open_files), 0, "files"),
        ("threads, most minus least", _range(kept, lambda one: one.threads), 0, "threads"),
        ("files in the run directory, most minus least", _range(kept, lambda one: one.files), 0, "files"),
        ("size of the run directory, slope", _slope(kept, lambda one: one.bytes), FOLDER_BOUND, "bytes per step"),
        ("time per step, last quarter / first quarter", slower, SLOWER_BOUND, ""),
    ]
    return [
        {"what": what, "measured": measured, "bound": bound, "unit": unit, "flat": measured <= bound}
        for what, measured, bound, unit in lines
    ]


def make_record(steps: int, samples: list[Sample]) -> dict[str, Any]:
    """Return the record: the verdicts, the sizes at the end of the warm-up and of the run, and every sample."""
    start, end = samples[int(WARM_UP * len(samples))], samples[-1]
    return {
        "steps": steps,
        "warm_up_steps": start.step,
        "milliseconds_per_step": 1000 * (end.seconds - start.seconds) / (end.step - start.step),
        "verdicts": judge(samples),
        "after_warm_up": asdict(start),
        "end": asdict(end),
        "samples": [asdict(one) for one in samples],
    }


def to_markdown(record: dict[str, Any]) -> str:
    """Return the record as Markdown."""
    verdicts = [
        {
            "what": line["what"],
            "measured": f"{line['measured']:.3g} {line['unit']}".rstrip(),
            "bound": f"{line['bound']:g} {line['unit']}".rstrip(),
            "flat": "yes" if line["flat"] else "NO",
        }
        for line in record["verdicts"]
    ]
    sizes = [
        {
            "at step": one["step"],
            "resident, MiB": f"{one['resident'] / 2**20:.1f}",
            "open files": one["open_files"],
            "threads": one["threads"],
            "files": one["files"],
            "run directory, KiB": f"{one['bytes'] / 2**10:.1f}",
        }
        for one in (record["after_warm_up"], record["end"])
    ]
    note = (
        f"{record['steps']} steps of {BATCH} digits through a trivial network, a checkpoint every 100 steps and at "
        f"each epoch's end, the loss logged every 50; {record['milliseconds_per_step']:.2f} ms per step with all of "
        f"that. The first {record['warm_up_steps']} steps are ignored."
    )
    return pages.page(record, "Soak", note, pages.markdown(verdicts), pages.markdown(sizes))


def _slope(samples: list[Sample], value: Callable[[Sample], float]) -> float:
    """Return the slope of the least-squares line through (step, value)."""
    return statistics.linear_regression([one.step for one in samples], [value(one) for one in samples]).slope


def _range(samples: list[Sample], value: Callable[[Sample], float]) -> float:
    values = [value(one) for one in samples]
    return max(values) - min(values)


def _fast(windows: list[float]) -> float:
    """Return the first decile: what another process slows down is among the others."""
    return statistics.quantiles(windows, n=10)[0]
