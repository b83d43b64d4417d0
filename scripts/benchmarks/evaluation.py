"""Images evaluated per second: clean, corrupted from files, corrupted on the fly, beside a plain DataLoader loop."""

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from datasets.augment import Normalized
from datasets.corrupted import CorruptedArrays
from datasets.in_memory import InMemoryData
from scripts.benchmarks.timing import add_common_arguments, in_turn, page, table
from scripts.benchmarks.trainers import MODELS
from smoothmix.evaluation.classification import batch_size, evaluate
from smoothmix.evaluation.generated import GeneratedImages
from smoothmix.utils.distributed import Ranks

CLASSES, SIDE, PLAIN_BATCH = 100, 32, 100
MEAN, STD = (0.507, 0.487, 0.441), (0.268, 0.257, 0.276)
GENERATED = ("gaussian_noise", "fog", "jpeg_compression")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("--images", type=int, default=2000, help="in the test set (default: 2000)")
    models = ("pyramidnet8", "pyramidnet200")
    parser.add_argument("--model", choices=models, help="default: pyramidnet8, and pyramidnet200 on a GPU")
    add_common_arguments(parser, measure, to_markdown, ("images",))


def measure(args: argparse.Namespace, ranks: Ranks) -> dict:
    """Return the record of these options."""
    name = args.model or ("pyramidnet200" if ranks.device.type == "cuda" else "pyramidnet8")
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        images, labels = write_files(Path(folder), args.images)
        for title, chosen in {name: name, "almost no network": "trivial"}.items():
            model = MODELS[chosen].build().to(ranks.device).eval()
            peers = {
                what: partial(evaluate, model, batches, ranks)
                for what, batches in our_batches(Path(folder), images, labels, ranks).items()
            }
            peers["clean, a plain loop"] = partial(plain_loop, model, images[0], labels, ranks.device)
            peers["a cell of files, a plain loop"] = partial(plain_cell, model, Path(folder), labels, ranks.device)
            seconds[title] = in_turn(peers, args.repeats, ranks)
    batch = batch_size(ranks.device)
    return {"images": args.images, "batch": batch, "plain_batch": PLAIN_BATCH, "seconds": seconds}


def write_files(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Write a corruption in the layout of CIFAR-100-C; return its images (5, n, 32, 32, 3) and labels (n,)."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (5, count, SIDE, SIDE, 3), dtype=np.uint8)
    labels = draw.integers(0, CLASSES, count)
    np.save(folder / "fog.npy", images.reshape(-1, SIDE, SIDE, 3))
    np.save(folder / "labels.npy", np.tile(labels, 5))
    return images, labels


def our_batches(folder: Path, images: np.ndarray, labels: np.ndarray, ranks: Ranks) -> dict[str, Any]:
    """Return what `evaluate` is given, by name."""
    data = InMemoryData((images[0], labels), (images[0], labels), [str(k) for k in range(CLASSES)], MEAN, STD)
    size = batch_size(ranks.device)
    files = CorruptedArrays(folder, torch.from_numpy(labels), SIDE, ranks)
    generated = GeneratedImages(data, "cifar", 0, ranks)
    return {
        "clean": data.eval_batches("test", size, ranks),
        "a cell of files": Normalized(files.batches("fog", 3, size), MEAN, STD),
        **{f"a generated cell: {name}": Normalized(generated.batches(name, 3, size), MEAN, STD) for name in GENERATED},
    }


def plain_cell(model: nn.Module, folder: Path, labels: np.ndarray, device: torch.device) -> float:
    """Return the error on one severity, its file loaded whole, as common evaluation scripts do."""
    n = len(labels)
    return plain_loop(model, np.load(folder / "fog.npy")[2 * n : 3 * n], labels, device)


def plain_loop(model: nn.Module, images: np.ndarray, labels: np.ndarray, device: torch.device) -> float:
    """Return the top-1 error in % by torchvision's transforms of PIL images, a DataLoader, and a read of each batch."""
    from PIL import Image
    from torchvision import transforms

    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    items = [(image, int(label)) for image, label in zip(images, labels, strict=True)]

    def collate(batch: list) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, targets = zip(*batch, strict=True)
        return torch.stack([transform(Image.fromarray(image)) for image in pixels]), torch.tensor(targets)

    wrong = 0
    with torch.no_grad():
        for inputs, targets in torch.utils.data.DataLoader(items, batch_size=PLAIN_BATCH, collate_fn=collate):
            predicted = model(inputs.to(device)).argmax(dim=1)
            wrong += (predicted != targets.to(device)).sum().item()
    return 100 * wrong / len(labels)


def to_markdown(record: dict) -> str:
    """Return a record as a table."""
    tables = []
    for title, seconds in record["seconds"].items():
        rates = {what: [record["images"] / time for time in times] for what, times in seconds.items()}

        def of_plain_loop(what: str, _: float, seconds: dict[str, list[float]] = seconds) -> str:
            plain = seconds["a cell of files, a plain loop" if "cell" in what else "clean, a plain loop"]
            return f"{statistics.median(plain) / statistics.median(seconds[what]):.2f}"

        tables.append(table(title, rates, "images/s", 0, {"of the plain loop": of_plain_loop}))
    note = (
        f"Random images. The plain loop: torchvision's transforms of PIL images, a DataLoader without workers, "
        f"{record['plain_batch']} images at a time, a read from the device after each."
    )
    return page(record, f"Evaluating {record['images']} images of 32x32, {record['batch']} at a time", note, *tables)
