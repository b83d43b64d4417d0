"""Write a corrupted test set in the published layout: python scripts/make_corruptions.py cifar100_c [--root data].

Run again, it goes on with the (corruption, severity) that is missing.
"""

import argparse
import json
import os
import shutil
import sys
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before any installed package named `datasets`

import numpy as np
import torch
from tqdm import tqdm

from datasets import cifar10, cifar100, class_folders, digits
from datasets.corrupted import CORRUPTED, GENERATED
from smoothmix.corruptions import CORRUPTIONS, SEVERITIES
from smoothmix.evaluation.generated import GeneratedImages
from smoothmix.utils.checks import read_object
from smoothmix.utils.distributed import init_distributed
from smoothmix.utils.environment import environment
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import write_text


class Writer:
    """Makes the cells of one benchmark and puts each in its place when it is whole."""

    def __init__(self, args):
        self.benchmark, self.folder = CORRUPTED[args.benchmark], args.output
        self.parts = self.folder / ".parts"
        self.data = _clean(args)
        ranks = init_distributed(args.device)
        self.images = GeneratedImages(self.data, self.benchmark.constants, args.seed, ranks, save_as_jpeg=False)

    def begin(self, seed):
        """Say in the folder what its files are, or check that they are the same."""
        device = self.images.device  # a GPU draws other numbers
        identity = {"seed": seed, "data_fingerprint": self.data.fingerprint, "device_type": device.type}
        path = self.folder / GENERATED
        if path.exists():
            try:
                stored = read_object(path)
            except ValueError as error:
                raise UserError(f"{path} is damaged ({error}): delete {self.folder}, then run this again") from error
            if differing := [key for key, value in identity.items() if stored.get(key) != value]:
                keys = " and ".join(differing)
                raise UserError(f"{self.folder} holds files of another {keys}; give another --output")
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise UserError(f"{self.folder} holds files that were not made here; give another --output")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():  # before anything else is there: without it the folder would be refused the next time
            write_text(path, json.dumps(identity | environment(device), indent=2) + "\n")
        self.parts.mkdir(exist_ok=True)
        if self.benchmark.constants == "cifar":
            _, labels = self.data.arrays("test")
            np.save(self.folder / "labels.npy", np.tile(labels.numpy(), len(SEVERITIES)))

    def check_names(self):
        """Refuse images that would be written to the same file."""
        if self.benchmark.constants == "cifar":
            return
        written = {}
        for file in self.data.files("test"):
            first = written.setdefault(_jpeg(file), file)
            if first != file:
                raise UserError(f"{first} and {file} would both become {_jpeg(file)}; rename or remove one of them")

    def is_done(self, name, severity):
        """Whether a cell is there, in its place or waiting for the other severities."""
        if self.benchmark.constants == "cifar":
            return (self.folder / f"{name}.npy").exists() or self._part(name, severity).exists()
        return (self.folder / name / str(severity)).exists()

    def write(self, name, severity):
        """Make one cell."""
        batches = (images.permute(0, 2, 3, 1).cpu().numpy() for images, _ in self.images.batches(name, severity))
        part = self._part(name, severity)
        beside = part.with_name(part.name + ".unfinished")
        if self.benchmark.constants == "cifar":
            with open(beside, "wb") as file:
                np.save(file, np.concatenate(list(batches)))
            os.replace(beside, part)
        else:
            shutil.rmtree(beside, ignore_errors=True)
            self._write_jpegs(batches, beside)
            place = self.folder / name / str(severity)
            place.parent.mkdir(exist_ok=True)
            os.replace(beside, place)

    def join_severities(self, name):
        """Put the five severities of an array benchmark into one file."""
        parts = [self._part(name, severity) for severity in SEVERITIES]
        if self.benchmark.constants != "cifar" or not all(part.exists() for part in parts):
            return
        beside = self.parts / f"{name}.npy.unfinished"
        with open(beside, "wb") as file:
            np.save(file, np.concatenate([np.load(part) for part in parts]))
        os.replace(beside, self.folder / f"{name}.npy")
        for part in parts:
            part.unlink()

    def _part(self, name, severity):
        return self.parts / f"{name}-{severity}.npy"

    def _write_jpegs(self, batches, folder):
        from PIL import Image

        files = iter(self.data.files("test"))
        for images in batches:
            for image, file in zip(images, files, strict=False):  # the last batch ends both
                path = folder / _jpeg(file)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path, quality=85, optimize=True)  # as the published files


def _jpeg(file):
    return file.with_suffix(".JPEG")


def _clean(args):
    name, root = CORRUPTED[args.benchmark].dataset, args.root.expanduser()
    if name == "digits":
        return digits()
    if name == "imagenet":
        return class_folders(root, workers=0, num_classes=1000)
    return {"cifar10": cifar10, "cifar100": cifar100}[name](root, verify=not args.no_verify)


_writer = None  # of a worker process


def _start(args):
    global _writer
    torch.set_num_threads(1)
    _writer = Writer(args)


def _write(cell):
    _writer.write(*cell)
    return cell


def make(args):
    """Write what is missing; return the corruptions that could not be made, with the reason."""
    if args.workers < 1:
        raise UserError(f"--workers must be at least 1, not {args.workers}")
    if (processes := os.environ.get("WORLD_SIZE", "1")) != "1":
        raise UserError(f"torchrun started {processes} of this program, which would all write the same; use --workers")
    writer = Writer(args)
    missing = writer.images.missing(args.corruptions)
    names = [name for name in args.corruptions if name not in missing]
    writer.check_names()
    writer.begin(args.seed)
    cells = [(name, s) for name in names for s in SEVERITIES if not writer.is_done(name, s)]
    with tqdm(total=len(cells), desc="cells", disable=None) as bar:
        if writer.images.device.type == "cuda":
            for cell in cells:
                writer.write(*cell)
                writer.join_severities(cell[0])
                bar.update()
        else:  # started afresh: a fork would inherit torch's threads in an unknown state
            with get_context("spawn").Pool(args.workers, _start, (args,)) as pool:
                for name, _ in pool.imap_unordered(_write, cells):
                    writer.join_severities(name)
                    bar.update()
    for name in names:
        writer.join_severities(name)
    shutil.rmtree(writer.parts, ignore_errors=True)
    return missing


def main() -> int:
    """Parse the command line and write the files; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benchmark", choices=CORRUPTED)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of the clean images (default: data)")
    parser.add_argument("--output", type=Path, help="folder to write to (default: ROOT/CIFAR-100-C and so on)")
    parser.add_argument("--corruptions", nargs="+", choices=CORRUPTIONS, default=list(CORRUPTIONS), metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: one a core)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto (default: cpu)")
    parser.add_argument("--no-verify", action="store_true", help="accept repacked CIFAR files")
    args = parser.parse_args()
    args.output = (args.output or args.root / CORRUPTED[args.benchmark].folder).expanduser()
    try:
        missing = make(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}; free space or give another --output, and run again", file=sys.stderr)
        return 2
    for name, reason in missing.items():
        print(f"not made: {name}: {reason}")
    print(f"{CORRUPTED[args.benchmark].title} (generated) is in {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
