"""The pipelines that are timed against each other: torchvision's usual ones and ours, each a call for one pass."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import CIFAR100, ImageFolder
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import functional as TF

from datasets import cifar100, class_folders
from datasets.augment import EIGENVALUES, EIGENVECTORS, draw_color, draw_resized_crop, recolor, to_float
from datasets.decode import load_rgb
from datasets.folder import IMAGENET_MEAN, IMAGENET_STD
from datasets.in_memory import InMemoryData
from datasets.sampling import eval_pieces
from smoothmix.utils.distributed import Ranks

Peers = dict[str, Callable[[], None]]


class _RepackedCIFAR100(CIFAR100):
    """torchvision's data set without its checksums, which repacked files do not have."""

    train_list: ClassVar = [["train", None]]
    test_list: ClassVar = [["test", None]]
    meta: ClassVar = {**CIFAR100.meta, "md5": None}


def lighting(image: Tensor) -> Tensor:
    """Return an image, float (3, H, W) in [0, 1], with AlexNet's lighting of strength 0.1, as training scripts do."""
    alphas = 0.1 * torch.randn(3)
    return image + (torch.tensor(EIGENVECTORS) * alphas * torch.tensor(EIGENVALUES)).sum(1)[:, None, None]


def epoch_of(batches: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of the first epoch."""
    return (batches.prepare(*inputs) for inputs in batches.inputs(0))


def cifar_peers(root: Path, batch: int, steps: int) -> Peers:
    """Return the pipelines that make `steps` training batches of CIFAR-100."""
    data = cifar100(root)
    images, labels = data.arrays("train")
    part = images[::10].contiguous(), labels[::10].contiguous()
    small = InMemoryData(part, part, data.class_names, data.mean, data.std)
    usual = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(data.mean, data.std),
        ]
    )
    loader = DataLoader(_RepackedCIFAR100(root, transform=usual), batch, shuffle=True)
    ours, of_small = data.train_batches(batch, seed=0), small.train_batches(batch, seed=0)
    return {
        "torchvision": lambda: consume(loader, steps),
        "ours": lambda: consume(epoch_of(ours), steps),
        "ours, a tenth of the images": lambda: consume(epoch_of(of_small), steps),
    }


def imagenet_peers(root: Path, batch: int) -> tuple[Peers, Peers]:
    """Return the pipelines that read all images of `root`/train once: to train on, and to evaluate on."""
    end = [transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    begin = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()]
    coloured = [*begin, transforms.ColorJitter(0.4, 0.4, 0.4), end[0], lighting, end[1]]
    central = [transforms.Resize(256), transforms.CenterCrop(224), *end]

    def usual(steps: list, shuffle: bool = True) -> Callable[[], None]:
        loader = DataLoader(ImageFolder(str(root / "train"), transforms.Compose(steps)), batch, shuffle=shuffle)
        return lambda: consume(loader)

    train = {"torchvision": usual([*begin, *end]), "torchvision, jitter and lighting": usual(coloured)}
    data = class_folders(root, workers=0)
    ours = data.train_batches(batch, seed=0)
    train["ours: a worker's part"] = lambda: _workers_part(ours)
    train["ours: all, jitter and lighting"] = lambda: consume(epoch_of(ours))
    pixels = data.image_batches("test", eval_pieces(data.sizes["test"], batch, Ranks()))
    batches = data.eval_batches("test", batch)
    evaluation = {
        "torchvision": usual(central, shuffle=False),
        "ours: a worker's part": lambda: consume(pixels),
        "ours: all": lambda: consume(batches),
    }
    return train, evaluation


def stages(root: Path) -> Peers:
    """Return the steps of the training pipelines, each for all images of `root`/train, with what they need at hand."""
    paths = [str(root / "train" / file) for file in class_folders(root, workers=0).files("train")]
    stream = torch.Generator().manual_seed(0)
    decoded = [load_rgb(path) for path in paths]
    boxes = [draw_resized_crop(image.height, image.width, (0.08, 1.0), (3 / 4, 4 / 3), stream) for image in decoded]
    cut = [TF.crop(image, *box) for image, box in zip(decoded, boxes, strict=True)]
    planes = [TF.pil_to_tensor(image)[None].contiguous(memory_format=torch.channels_last) for image in cut]
    small = [image.resize((224, 224), Image.Resampling.BILINEAR) for image in cut]
    floats = [TF.to_tensor(image) for image in small]
    batch = torch.stack([torch.from_numpy(np.array(image)) for image in small]).permute(0, 3, 1, 2)
    colours = [torch.stack(column) for column in zip(*[draw_color(0.4, 0.1, stream) for _ in small], strict=True)]
    return {
        "read the file": _each(lambda path: Path(path).read_bytes(), paths),
        "read, decode (Pillow)": _each(lambda path: Image.open(path).load(), paths),
        "read, decode (torchvision)": _each(lambda path: decode_jpeg(read_file(path), ImageReadMode.RGB), paths),
        "convert an RGB image to RGB": _each(lambda image: image.convert("RGB"), decoded),
        "crop": _each(lambda image, box: TF.crop(image, *box), decoded, boxes),
        "resize (Pillow)": _each(lambda image: image.resize((224, 224), Image.Resampling.BILINEAR), cut),
        "resize (torch, uint8)": _each(
            lambda image: F.interpolate(image, size=(224, 224), mode="bilinear", antialias=True), planes
        ),
        "flip": _each(TF.hflip, small),
        "colour jitter (Pillow)": _each(transforms.ColorJitter(0.4, 0.4, 0.4), small),
        "to uint8 tensor": _each(lambda image: torch.from_numpy(np.array(image)), small),
        "to float tensor (ToTensor)": _each(TF.to_tensor, small),
        "lighting": _each(lighting, floats),
        "normalise": _each(lambda image: TF.normalize(image, IMAGENET_MEAN, IMAGENET_STD), floats),
        "ours, of a batch: to float, jitter, lighting, normalise": _each(
            lambda images, *numbers: recolor(to_float(images), *numbers, IMAGENET_MEAN, IMAGENET_STD),
            *(column.split(32) for column in (batch, *colours)),
        ),
    }


def _workers_part(batches) -> None:
    """Make the uint8 batches and the numbers that finish them: what is left to the CPU where a GPU does the rest."""
    batches.sampler.start(0, 0)
    consume(batches.loader)


def _each(step: Callable, *columns: Iterable) -> Callable[[], None]:
    def call() -> None:
        for items in zip(*columns, strict=True):
            step(*items)

    return call


def consume(batches: Iterable, steps: int | None = None) -> None:
    """Take `steps` batches, or all."""
    for step, _ in enumerate(batches, start=1):
        if step == steps:
            return


def link_folder(folder: Path, root: Path) -> None:
    """Let `folder` be both `root`/train and `root`/val."""
    for split in ("train", "val"):
        os.symlink(folder.resolve(), root / split, target_is_directory=True)
