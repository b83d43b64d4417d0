"""Corrupted images made from clean ones while they are evaluated or written."""

from collections.abc import Iterable, Iterator

import torch

from smoothmix.corruptions import SIDES, corrupt
from smoothmix.utils.data import Batch, ImageDataset
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.numerics import derive_seed

# images that draw their random numbers together: part of what a seed means; of another side as many pixels
CHUNK = {"cifar": 250, "imagenet": 50}
TITLES = {"cifar": "CIFAR-C's", "imagenet": "ImageNet-C's"}


def unavailable(names: Iterable[str], constants: str) -> dict[str, str]:
    """Return those of the corruptions `names` for which a library or texture is not installed, and the remedy."""
    reasons = {}
    image = torch.zeros(1, 3, SIDES[constants], SIDES[constants], dtype=torch.uint8)
    for name in names:
        try:
            corrupt(image, name, 1, constants)
        except ImportError as error:
            reasons[name] = str(error)
    return reasons


class GeneratedImages:
    """The corruptions of a benchmark at every severity, generated from the test images of a data set.

    The images of a corruption-severity pair follow from (`seed`, corruption, severity) on a CPU: not from the number of
    ranks, nor from which pairs came before. On a GPU other numbers are drawn. `source` says where the images have
    another side than those of the benchmark.
    """

    def __init__(self, data: ImageDataset, constants: str, seed: int, ranks: Ranks, save_as_jpeg: bool = True) -> None:
        n, side, own_side = data.sizes["test"], data.image_size, SIDES[constants]
        self.size = max(1, CHUNK[constants] * own_side**2 // side**2)
        chunks = [range(start, min(start + self.size, n)) for start in range(0, n, self.size)]
        self.numbers = range(len(chunks))[ranks.rank :: ranks.world_size]
        self.chunks = [chunks[number] for number in self.numbers]
        self.clean = data.image_batches("test", self.chunks, ranks.device)
        self.constants, self.seed, self.save_as_jpeg = constants, seed, save_as_jpeg
        self.device = ranks.device
        self.generator = torch.Generator(ranks.device)
        gpu = ", on a GPU" if ranks.device.type == "cuda" else ""
        constants_of = f", {TITLES[constants]} constants at {side} pixels" if side != own_side else ""
        self.source = f"generated (seed {seed}{gpu}{constants_of})"

    def missing(self, names: Iterable[str]) -> dict[str, str]:
        """Return those of the corruptions `names` that cannot be made here; see :func:`unavailable`."""
        return unavailable(names, self.constants)

    def batches(self, name: str, severity: int, batch_size: int | None = None) -> "GeneratedBatches":
        """Return this rank's batches of (uint8 images (n, 3, S, S), labels (n,)) of one corruption at one severity.

        They hold at most `batch_size` images, and never more than draw their random numbers together.
        """
        return GeneratedBatches(self, name, severity, batch_size)


class GeneratedBatches:
    """One corruption at one severity."""

    def __init__(self, images: GeneratedImages, name: str, severity: int, batch_size: int | None) -> None:
        self.images, self.name, self.severity = images, name, severity
        self.size = size = batch_size or images.size
        chunks = images.clean.pieces
        self.pieces = [chunk[start : start + size] for chunk in chunks for start in range(0, len(chunk), size)]

    def __iter__(self) -> Iterator[Batch]:
        given = self.images
        for number, (images, labels) in zip(given.numbers, given.clean, strict=True):
            given.generator.manual_seed(derive_seed(given.seed, self.name, self.severity, number))
            images = corrupt(images, self.name, self.severity, given.constants, given.generator, given.save_as_jpeg)
            # Laid out as images from files are: networks take them faster, and one pair is as fast as another.
            images = images.contiguous(memory_format=torch.channels_last)
            yield from zip(torch.split(images, self.size), torch.split(labels, self.size), strict=True)
