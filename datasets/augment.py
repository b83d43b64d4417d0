"""The random augmentations of the input pipeline, as pure functions.

Numbers are drawn on the CPU from a generator that the caller seeded; pixels are changed wherever the images lie, a
batch at a time. No function keeps state, and none makes the host wait for the device.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cache

import torch
from torch import Tensor

from smoothmix.utils.data import Batch, Batches

GREY = (0.299, 0.587, 0.114)  # ITU-R 601 luma, as Pillow and the CutMix code

# Principal components of ImageNet's RGB values in [0, 1] (AlexNet, sec. 4.1; numbers of fb.resnet.torch): one column of
# the matrix an eigenvector.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


@cache
def _constant(values: tuple, device: torch.device) -> Tensor:
    """Return `values` as a float32 tensor on `device`, copied there once: such a copy makes the host wait."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.float32, device=device)


# ---- CIFAR: zero padding, random crop, horizontal flip


def draw_crop_flip(n: int, padding: int, flip: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw what RandomCrop(padding=`padding`) and RandomHorizontalFlip need for `n` images.

    Returns:
        offsets: (n, 2) int64, the top and left corner of the crop in the padded image, uniform in 0..2*padding.
        flips: (n,) bool, true with probability 1/2 (never, where `flip` is false).
    """
    offsets = torch.randint(0, 2 * padding + 1, (n, 2), generator=generator)
    flips = torch.randint(0, 2, (n,), generator=generator).bool() if flip else torch.zeros(n, dtype=torch.bool)
    return offsets, flips


def crop_flip(padded: Tensor, index: Tensor, offsets: Tensor, flips: Tensor, size: int) -> Tensor:
    """Crop and flip the images `index` of a padded store with one gather.

    Args:
        padded: contiguous (N, H, W, C) store of any dtype, zeros around each image.
        index: (n,) int64, which images.
        offsets: (n, 2) int64, top and left corner of each crop.
        flips: (n,) bool, which crops are mirrored left to right.
        size: side of the crop.

    Returns:
        (n, C, size, size) in channels_last memory.
    """
    height, width, channels = padded.shape[1:]
    steps = torch.arange(size, device=padded.device)
    rows = (index[:, None] * height + offsets[:, :1] + steps) * width
    columns = offsets[:, 1:] + torch.where(flips[:, None], size - 1 - steps, steps)
    pixels = (rows[:, :, None] + columns[:, None, :]).flatten()
    # A quarter of the time that indexing by three tensors takes on a CPU.
    crops = padded.view(-1, channels).index_select(0, pixels)
    return crops.view(len(index), size, size, channels).permute(0, 3, 1, 2)


# ---- ImageNet: random resized crop, colour jitter, lighting


def draw_resized_crop(
    height: int, width: int, scale: Sequence[float], ratio: Sequence[float], generator: torch.Generator
) -> tuple[int, int, int, int]:
    """Draw the crop of torchvision's RandomResizedCrop: same law, but from `generator`.

    The area is uniform in `scale` times the image's, the logarithm of width/height uniform in log(`ratio`); after ten
    boxes that do not fit, the largest central box whose ratio is allowed.

    Returns:
        top, left, height, width of the crop, in pixels.
    """
    for _ in range(10):
        u, v = torch.rand(2, generator=generator, device="cpu", dtype=torch.float32).tolist()
        area = height * width * (scale[0] + (scale[1] - scale[0]) * u)
        aspect = math.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * v)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = torch.randint(0, height - h + 1, (), generator=generator, device="cpu").item()
            left = torch.randint(0, width - w + 1, (), generator=generator, device="cpu").item()
            return top, left, h, w
    w, h = width, height
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    return (height - h) // 2, (width - w) // 2, h, w


def draw_color(jitter: float, lighting: float, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw what :func:`recolor` needs for one image.

    Returns:
        order: (3,) int64, a random permutation of brightness (0), contrast (1) and saturation (2).
        factors: (3,) their factors in that numbering, uniform in 1 - jitter..1 + jitter.
        alphas: (3,) normal with standard deviation `lighting`.
    """
    order = torch.randperm(3, generator=generator, device="cpu")
    factors = 1 + jitter * (2 * torch.rand(3, generator=generator, device="cpu", dtype=torch.float32) - 1)
    return order, factors, lighting * torch.randn(3, generator=generator, device="cpu", dtype=torch.float32)


def recolor(
    images: Tensor, order: Tensor, factors: Tensor, alphas: Tensor, mean: tuple[float, ...], std: tuple[float, ...]
) -> Tensor:
    """Jitter each image in its own order, light it, and normalise it.

    Jitter is the CutMix code's: each of the three operations is x' = f x + (1 - f) ref, with ref = 0 for brightness,
    the mean of the grey image for contrast and the grey image for saturation. Lighting adds to all pixels of image i
    the colour sum_j alphas[i, j] * eigenvalue_j * eigenvector_j (AlexNet, sec. 4.1). Nothing is clamped on the way, so
    that all of it is one affine map of a pixel and its grey value.

    Args:
        images: (n, 3, H, W) float32, in [0, 1].
        order: (n, 3) int64; order[i, 0] is the first operation of image i (0 brightness, 1 contrast, 2 saturation).
        factors: (n, 3); factors[i, k] is the factor of operation k, wherever it stands in the order.
        alphas: (n, 3).
        mean: of each channel, for images in [0, 1].
        std: likewise.
    """
    red, green, blue = GREY
    grey = red * images[:, :1] + green * images[:, 1:2] + blue * images[:, 2:]
    gain, share, shift = _jitter(grey.mean((1, 2, 3)), order, factors)
    scaled = alphas * _constant(EIGENVALUES, alphas.device)
    light = (scaled[:, None, :] * _constant(EIGENVECTORS, alphas.device)).sum(2)
    mean, std = (_constant(tuple(values), images.device) for values in (mean, std))
    width = images.shape[3]
    offset = _rows((shift[:, None] + light - mean) / std, width)
    return torch.addcmul(offset, images, _rows(gain[:, None] / std, width)).addcmul_(
        grey, (share[:, None] / std)[:, :, None, None]
    )


def _jitter(grey_mean: Tensor, order: Tensor, factors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return gain, share and shift (n,) of jitter as a whole: x' = gain x + share grey(x) + shift."""
    gain, share, shift = torch.ones_like(grey_mean), torch.zeros_like(grey_mean), torch.zeros_like(grey_mean)
    for slot in range(3):
        operation = order[:, slot]
        factor = factors.gather(1, operation[:, None])[:, 0]
        # The grey value of the image so far is (gain + share) grey(x) + shift, as the weights of grey add up to 1.
        to_grey = torch.where(operation == 2, 1 - factor, 0.0)
        to_mean = torch.where(operation == 1, 1 - factor, 0.0)
        now = gain + share
        gain, share, shift = (
            factor * gain,
            factor * share + to_grey * now,
            factor * shift + to_grey * shift + to_mean * (now * grey_mean + shift),
        )
    return gain, share, shift


# ---- both


def to_float(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [0, 1], in the same memory format."""
    return images.to(torch.float32).div_(255)


def normalize(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return (images - mean) / std, channel by channel; `images` (n, 3, H, W) floating, in [0, 1]."""
    mean, std = (_constant_rows(tuple(values), images.shape[3], images.device) for values in (mean, std))
    return (images - mean).div_(std)


def _rows(values: Tensor, width: int) -> Tensor:
    """Return (n, C) as (n, C, 1, `width`), laid out as a row of a channels_last image.

    One value for each channel would be broadcast in loops of C numbers there, which takes a CPU three times as long.
    """
    n, channels = values.shape
    return values[:, None].expand(n, width, channels).contiguous().mT[:, :, None]


@cache
def _constant_rows(values: tuple, width: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return _rows(_constant(values, device)[None], width)


class Normalized:
    """Evaluation batches as a network takes them: (uint8 images, labels) become (float32 normalised images, labels).

    Like `batches`, these can be iterated again and again.
    """

    def __init__(self, batches: Batches, mean: tuple[float, ...], std: tuple[float, ...]):
        self.batches, self.mean, self.std = batches, mean, std
        self.pieces = batches.pieces

    def __iter__(self) -> Iterator[Batch]:
        for images, labels in self.batches:
            yield normalize(to_float(images), self.mean, self.std), labels
