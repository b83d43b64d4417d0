"""Ours beside other libraries' and usual code at the same task: GROUPs mixing, input, corruption, evaluation."""

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from datasets import class_folders
from datasets.augment import EIGENVALUES, EIGENVECTORS, Normalized
from datasets.corrupted import CorruptedArrays
from datasets.folder import IMAGENET_MEAN, IMAGENET_STD
from scripts.benchmarks.step import MODELS, made_up
from scripts.benchmarks.timing import Pair, compare
from smoothmix import CutMix, Mixup, SmoothMixC, SmoothMixS
from smoothmix.corruptions import CORRUPTIONS, corrupt
from smoothmix.evaluation.classification import batch_size, evaluate
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError
from smoothmix.utils.numerics import full_precision

SEVERITY = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="default: all; on a GPU mixing and evaluation")
    parser.set_defaults(measure=measure)


def measure(args: argparse.Namespace, ranks: Ranks) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the rows of each group.

    Raises:
        UserError: a group that is none, one of the CPU's on a GPU, or a library that is not installed.
    """
    possible = {"mixing": mixing, "evaluation": evaluation}
    if ranks.device.type == "cpu":
        possible |= {"input": making_input, "corruption": corruption}
    for group in args.groups or possible:
        if group not in possible:
            raise UserError(f"{group} is none of the groups on this device: {', '.join(possible)}")
        with tempfile.TemporaryDirectory() as folder:
            try:
                yield group, [compare(pair, ranks, args.repeats) for pair in possible[group](Path(folder), ranks)]
            except ModuleNotFoundError as error:
                raise UserError(f"{group} needs {error.name}: pip install '.[peers]', or leave the group out") from None


# ---- mixing a batch of float32 images and its labels


def mixing(folder: Path, ranks: Ranks) -> Iterator[Pair]:
    """Every batch is mixed (p = 1), in one way or per sample; timm writes into the images that it is given."""
    from timm.data import Mixup as Timm
    from torchvision.transforms import v2

    beside = {Mixup: (v2.MixUp, "MixUp", {}), CutMix: (v2.CutMix, "CutMix", {"mixup_alpha": 0.0, "cutmix_alpha": 1.0})}
    beside |= {SmoothMixC: beside[CutMix], SmoothMixS: beside[CutMix]}
    for shape in ((128, 3, 32, 32), (64, 3, 224, 224)):
        images = torch.randn(shape, device=ranks.device)
        labels = torch.arange(len(images), device=ranks.device) % 100
        for kind, (peer, name, of_timm) in beside.items():
            what = f"{kind.__name__}, {'x'.join(map(str, shape))}"
            ours = [partial(kind(num_classes=100, p=1.0, per_sample=each), images, labels) for each in (False, True)]
            yield Pair(what, f"torchvision {name}", ours[0], partial(peer(num_classes=100), images, labels))
            modes = {Mixup: ("batch", "elem"), CutMix: ("batch", "elem"), SmoothMixC: ("elem",)}.get(kind, ())
            for mode in modes:
                theirs = partial(Timm(num_classes=100, mode=mode, **of_timm), images.clone(), labels)
                each = mode == "elem"
                yield Pair(what + ", per sample" * each, f"timm {name}, in place", ours[each], theirs)


# ---- making input ready, in the process itself


class Pictures(Dataset):
    """Images, uint8 (n, S, S, 3), and labels, through a transform of torchvision."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable[[Any], Tensor]):
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def making_input(folder: Path, ranks: Ranks) -> Iterator[Pair]:
    """Forty batches of 128 images of 32x32; 64 JPEGs, copies of scikit-learn's two photographs (427 x 640)."""
    from PIL import Image
    from sklearn.datasets import load_sample_images
    from torchvision import transforms as T
    from torchvision.datasets import ImageFolder

    data = made_up(50_000, 32, 100)
    images, labels = (part.numpy() for part in data.arrays("train"))
    end = [T.ToTensor(), T.Normalize(data.mean, data.std)]
    usual = T.Compose([T.RandomCrop(32, padding=4), T.RandomHorizontalFlip(), *end])
    loader = DataLoader(Pictures(images, labels, usual), 128, shuffle=True)
    ours = partial(consume, partial(training, data.train_batches(128, seed=0)), 40)
    yield Pair("training batches of 32x32", "torchvision", ours, partial(consume, lambda: loader, 40))

    for split in ("train", "val"):
        for number, photograph in enumerate(load_sample_images().images):
            (folder / split / f"class{number}").mkdir(parents=True)
            for copy in range(32):
                Image.fromarray(photograph).save(folder / split / f"class{number}" / f"{copy}.jpg", quality=90)
    end = [T.ToTensor(), T.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    train = [T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.ColorJitter(0.4, 0.4, 0.4), end[0], lighting, end[1]]
    central = [T.Resize(256), T.CenterCrop(224), *end]
    data = class_folders(folder, workers=0)
    to_train_on = partial(training, data.train_batches(32, seed=0))
    to_evaluate_on = data.eval_batches("test", 32)
    for what, batches, steps in (
        ("training batches of JPEGs", to_train_on, train),
        ("evaluation batches of JPEGs", lambda: to_evaluate_on, central),
    ):
        loader = DataLoader(ImageFolder(str(folder / "train"), T.Compose(steps)), 32, shuffle=steps is train)
        yield Pair(what, "torchvision", partial(consume, batches), partial(consume, lambda loader=loader: loader))


def training(batches: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of an epoch, as a train step takes them."""
    return (batches.prepare(*inputs) for inputs in batches.inputs(0))


def lighting(image: Tensor) -> Tensor:
    """Return an image, float (3, H, W) in [0, 1], with AlexNet's lighting of strength 0.1, as training scripts do."""
    alphas = 0.1 * torch.randn(3)
    return image + (torch.tensor(EIGENVECTORS) * alphas * torch.tensor(EIGENVALUES)).sum(1)[:, None, None]


def consume(batches: Callable[[], Iterable], steps: int | None = None) -> None:
    """Take `steps` batches, or all."""
    for step, _ in enumerate(batches(), start=1):
        if step == steps:
            return


# ---- corrupting images


def corruption(folder: Path, ranks: Ranks) -> Iterator[Pair]:
    """Eight crops of photographs, 224x224, not saved as JPEG; what imagecorruptions cannot do any more is left out."""
    import cv2
    from imagecorruptions import corrupt as theirs
    from sklearn.datasets import load_sample_images

    cv2.setNumThreads(torch.get_num_threads())
    photographs = load_sample_images().images
    arrays = [image[top:, left:][:224, :224].copy() for image in photographs for top in (0, 200) for left in (0, 400)]
    images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    for name in CORRUPTIONS:
        ours = partial(corrupt, images, name, SEVERITY, "imagenet", torch.Generator().manual_seed(0), False)
        usual = partial(one_by_one, partial(theirs, corruption_name=name, severity=SEVERITY), arrays)
        try:
            usual()
        except (AttributeError, TypeError) as error:  # NumPy's and scikit-image's older functions
            print(f"note: imagecorruptions has no {name} here: {error}")
        else:
            yield Pair(f"{name}, 224x224", "imagecorruptions", ours, usual)


def one_by_one(call: Callable[[Any], Any], items: list) -> None:
    """Call it with each item."""
    for item in items:
        call(item)


# ---- evaluating 1,000 images of 32x32


def evaluation(folder: Path, ranks: Ranks) -> Iterator[Pair]:
    """Clean images, and those of a severity of a file of CIFAR-100-C; both sides in true float32."""
    data, size = made_up(1000, 32, 100), batch_size(ranks.device)
    images, labels = (part.numpy() for part in data.arrays("train"))
    np.save(folder / "fog.npy", np.concatenate([images] * 5))
    np.save(folder / "labels.npy", np.concatenate([labels] * 5))
    files = CorruptedArrays(folder, torch.from_numpy(labels), 32, ranks)
    batches = {
        "evaluation": (data.eval_batches("train", size, ranks), lambda: images),
        "evaluation of -C files": (
            Normalized(files.batches("fog", SEVERITY, size), data.mean, data.std),
            lambda: np.load(folder / "fog.npy")[2000:3000],  # loaded whole, as common scripts do
        ),
    }
    for name in ("no network", "pyramidnet200" if ranks.device.type == "cuda" else "pyramidnet8"):
        model = MODELS[name].build().to(ranks.device).eval()
        for what, (ours, theirs) in batches.items():
            usual = partial(plain_loop, model, theirs, labels, max(100, size), data, ranks.device)
            yield Pair(f"{what}, {name}", "plain loop", partial(evaluate, model, ours, ranks), usual)


def plain_loop(
    model: nn.Module, images: Callable[[], np.ndarray], labels: np.ndarray, size: int, data: Any, device: torch.device
) -> float:
    """Return the top-1 error in % by torchvision's transforms of PIL images, a DataLoader, and a read of each batch."""
    from torchvision import transforms as T

    wrong, transform = 0, T.Compose([T.ToTensor(), T.Normalize(data.mean, data.std)])
    with torch.no_grad(), full_precision():
        for inputs, targets in DataLoader(Pictures(images(), labels, transform), size):
            wrong += (model(inputs.to(device)).argmax(dim=1) != targets.to(device)).sum().item()
    return 100 * wrong / len(labels)
