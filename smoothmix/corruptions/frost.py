"""Frost: a random part of one of five photographs of frost, blended in."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Generator, Tensor

from smoothmix.corruptions.corruption import Corruption, Draws

_Setting = tuple[float, float]  # weight of the image, weight of the frost
_FILES = {  # with heights and widths
    "frost1.png": (600, 900),
    "frost2.png": (315, 560),
    "frost3.png": (315, 560),
    "frost4.jpg": (350, 527),
    "frost5.jpg": (495, 660),
}
_SHRUNK = 160  # for images of S pixels every (160 // S)-th pixel of the photographs: of CIFAR every fifth
_LEAST = min(min(size) for size in _FILES.values())  # for larger images than this the photographs are enlarged


def _sample(images: Tensor, setting: _Setting, generator: Generator | None) -> Draws:
    """Draw which photograph, and the row and the column where its part starts: three int64 (N,)."""
    count, side, device = len(images), images.shape[-1], images.device
    _, sizes = _textures(side, device)
    which = torch.randint(len(sizes), (count,), generator=generator, device=device)
    spots = torch.rand(2, count, generator=generator, device=device, dtype=torch.float64)
    rows, columns = spots.mul_((sizes[which] - side).T).long()
    return which, rows, columns


def _apply(images: Tensor, setting: _Setting, draws: Draws) -> Tensor:
    side = images.shape[-1]
    textures, _ = _textures(side, images.device)
    which, rows, columns = draws
    parts = textures.unfold(2, side, 1).unfold(3, side, 1)[which, :, rows, columns]
    image_weight, frost_weight = setting
    # In float64: the sums are often whole numbers, and the cast truncates.
    blend = images.double().mul_(image_weight).add_(parts.double().mul_(frost_weight))
    return blend.clamp_(max=255).to(torch.uint8)


@cache
def _textures(side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the photographs for images of `side` pixels and their heights and widths.

    The first is uint8 (5, 3, H, W), each photograph in the upper left of its place; the second is int64 (5, 2).
    """
    photographs = _photographs()
    if (step := _SHRUNK // side) > 1:
        photographs = [photograph[:, step // 2 :: step, step // 2 :: step] for photograph in photographs]
    if (factor := -(-side // _LEAST)) > 1:
        photographs = [
            photograph.repeat_interleave(factor, 1).repeat_interleave(factor, 2) for photograph in photographs
        ]
    sizes = torch.tensor([photograph.shape[1:] for photograph in photographs])
    height, width = sizes.amax(0).tolist()
    textures = torch.zeros(len(photographs), 3, height, width, dtype=torch.uint8)
    for texture, photograph in zip(textures, photographs, strict=True):
        texture[:, : photograph.shape[1], : photograph.shape[2]] = photograph
    return textures.to(device), sizes.to(device)


def _photographs() -> list[Tensor]:
    """Read the photographs, uint8 (3, H, W), from the files of the package `imagecorruptions`, which is not imported.

    Raises:
        ImportError: the package or one of the files is not there, or a file has another size.
    """
    remedy = "the frost photographs are missing; run `pip install --no-deps imagecorruptions==1.1.2`"
    spec = find_spec("imagecorruptions")
    if spec is None or spec.origin is None:
        raise ImportError(remedy)
    try:
        import numpy
        from PIL import Image
    except ImportError as error:
        raise ImportError("frost reads its photographs with Pillow; run `pip install pillow numpy`") from error
    folder = Path(spec.origin).parent / "frost"
    photographs = []
    for name, size in _FILES.items():
        try:
            with Image.open(folder / name) as file:
                photograph = torch.from_numpy(numpy.array(file.convert("RGB"))).permute(2, 0, 1)
        except FileNotFoundError as error:
            raise ImportError(remedy) from error
        if photograph.shape[1:] != size:
            raise ImportError(
                f"{folder / name} has {photograph.shape[2]} x {photograph.shape[1]} pixels, "
                f"not {size[1]} x {size[0]}; run `pip install --no-deps imagecorruptions==1.1.2`"
            )
        photographs.append(photograph)
    return photographs


FROST = Corruption(
    category="weather",
    cifar=((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    imagenet=((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    apply=_apply,
    sample=_sample,
)
