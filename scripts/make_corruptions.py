"""Write a corrupted test set in the published layout: python scripts/make_corruptions.py cifar100_c [--root data].

To resume after an interruption, repeat the command: complete files are kept, and the others are made.
"""

import argparse
import json
import os
import shutil
import signal
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, resource_tracker
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before any installed package named `datasets`
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback

import torch
from tqdm import tqdm

from datasets import cifar10, cifar100, class_folders, digits
from datasets.corrupted_sets import CORRUPTED, GENERATED
from datasets.corrupted_writers import PARTS, ArrayWriter, FolderWriter
from smoothmix.corruptions import CORRUPTIONS
from smoothmix.evaluation.generated import GeneratedImages
from smoothmix.utils.command import exit_with_parent, kill, run
from smoothmix.utils.distributed import init_distributed
from smoothmix.utils.environment import start
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import hold, read_object, write_text

LOCK = ".lock"


class Generator:
    """Makes the corrupted images of one benchmark and hands them to its writer."""

    def __init__(self, args):
        self.benchmark, self.data = CORRUPTED[args.benchmark], _clean(args)
        ranks = init_distributed(args.device)
        self.images = GeneratedImages(self.data, self.benchmark.constants, args.seed, ranks, save_as_jpeg=False)
        kind = ArrayWriter if self.benchmark.constants == "cifar" else FolderWriter
        self.writer = kind(args.output, self.data)

    def make(self, job):
        """Make one file or folder."""
        name, severities = job
        batches = (batch for severity in severities for batch in self.images.batches(name, severity))
        self.writer.write(job, (images.permute(0, 2, 3, 1).cpu().numpy() for images, _ in batches))


def _clean(args):
    name, root = CORRUPTED[args.benchmark].dataset, args.root.expanduser()
    if name == "digits":
        return digits()
    if name == "imagenet":
        return class_folders(root, workers=0, num_classes=1000)
    return {"cifar10": cifar10, "cifar100": cifar100}[name](root)


def identify(folder, seed, data, device):
    """Say in `folder` what its files are, or check that they are the same; return what it says.

    Raises:
        UserError: `folder` holds files of other images, another seed or another kind of device.
    """
    identity = {"seed": seed, "data_fingerprint": data.fingerprint, "device_type": device.type}  # a GPU draws others
    path = folder / GENERATED
    if path.exists():
        try:
            stored = read_object(path)
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}): delete {folder}, then run this again") from error
        if differing := [key for key, value in identity.items() if stored.get(key) != value]:
            raise UserError(f"{folder} holds files made with another {' and '.join(differing)}; give another --output")
        return stored
    write_text(path, json.dumps(identity) + "\n")  # first of all: without it the folder would be refused the next time
    return identity


def make(args):
    """Write what is missing; return the corruptions that could not be made, with the reason."""
    if args.workers < 1:
        raise UserError(f"--workers must be at least 1, not {args.workers}")
    if (processes := os.environ.get("WORLD_SIZE") or "1") != "1":
        raise UserError(f"torchrun started {processes} processes, all writing the same files; use --workers")
    generator = Generator(args)
    writer, device = generator.writer, generator.images.device
    args.output.mkdir(parents=True, exist_ok=True)
    if not (args.output / GENERATED).exists() and {entry.name for entry in args.output.iterdir()} - {LOCK}:
        raise UserError(f"{args.output} holds files that were not made here; give another --output")
    with hold(args.output / LOCK, args.output):
        stored = identify(args.output, args.seed, generator.data, device)
        writer.prepare()
        missing = generator.images.missing(args.corruptions)
        names = [name for name in args.corruptions if name not in missing]
        jobs = writer.jobs(names)
        if jobs:
            starts = {"starts": [*stored.get("starts", []), start(device)]}
            write_text(args.output / GENERATED, json.dumps(stored | starts, indent=2) + "\n")
        made = _on_gpu(generator, jobs) if device.type == "cuda" else _by_workers(args, jobs)
        for _ in tqdm(made, total=len(jobs), desc="corruptions", disable=None):
            pass
        shutil.rmtree(args.output / PARTS)
    return missing


def _on_gpu(generator, jobs):
    for job in jobs:
        generator.make(job)
        yield job


def _by_workers(args, jobs):
    """Do `jobs` in worker processes; yield each one that is done."""
    # Started afresh: a fork would inherit torch's threads in an unknown state.
    with ProcessPoolExecutor(args.workers, get_context("spawn"), _start, (args,)) as pool:
        try:
            resource_tracker.ensure_running()  # it would unblock the signal
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is this process's: workers inherit it
            interrupts: list[int] = []  # one that another thread receives is raised when all workers have started
            handler = signal.signal(signal.SIGINT, lambda number, frame: interrupts.append(number))
            try:
                futures = [pool.submit(_make, job) for job in jobs]
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
                signal.signal(signal.SIGINT, handler)
            if interrupts:
                raise KeyboardInterrupt
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker was killed: most likely the machine ran out of memory; run the same command again with fewer "
                "--workers, and it resumes"
            ) from error
        except KeyboardInterrupt:
            kill(active_children())  # what each is making may take minutes
            raise
        finally:
            pool.shutdown(cancel_futures=True)


_generator = None  # of a worker process


def _start(args):
    global _generator
    exit_with_parent()
    torch.set_num_threads(1)
    _generator = Generator(args)


def _make(job):
    _generator.make(job)
    return job


def main() -> None:
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benchmark", choices=CORRUPTED)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of the clean images (default: data)")
    parser.add_argument("--output", type=Path, help="folder to write to (default: ROOT/CIFAR-100-C and so on)")
    parser.add_argument("--corruptions", nargs="+", choices=CORRUPTIONS, default=list(CORRUPTIONS), metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: one per core)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto (default: cpu)")
    args = parser.parse_args()
    args.output = (args.output or args.root / CORRUPTED[args.benchmark].folder).expanduser()
    try:
        missing = make(args)
    except OSError as error:
        raise UserError(f"{error}; free space or give another --output, and run again") from error
    for name, reason in missing.items():
        print(f"not made: {name}: {reason}")
    print(f"{CORRUPTED[args.benchmark].title} (generated) is in {args.output}")


if __name__ == "__main__":
    run(main)
