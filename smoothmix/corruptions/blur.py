"""Blur: defocus, motion, zoom and Gaussian."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from smoothmix.corruptions.corruption import Corruption, Draws
from smoothmix.corruptions.filters import along_sides, gaussian_matrix, zoom_matrix

TILE = 4  # side of the tiles of pixels that the defocus filter takes at once


class Defocus(NamedTuple):
    """Radius of the disk in pixels, and the sigma that smooths its edge."""

    radius: float
    smoothing: float


class Motion(NamedTuple):
    """The trail has 2 * radius + 1 pixels; they fade as half a Gaussian of `sigma` pixels."""

    radius: int
    sigma: float


class Zoom(NamedTuple):
    """Zooms 1, 1 + step, ..., `zooms` of them."""

    zooms: int
    step: float


def _blur_gaussian(images: Tensor, sigma: float, draws: Draws) -> Tensor:
    matrix = gaussian_matrix(images.shape[-1], sigma, like=images.new_empty(0, dtype=torch.float32))
    return along_sides(images.float(), matrix, matrix).clamp_(0, 255).byte()


def disk(radius: float, smoothing: float) -> Tensor:
    """Return the kernel of a defocused lens, float32 (K, K) on the CPU, K odd.

    The kernel of the original code, borders included: it smooths the disk on a grid of its own, mirrored at the edge,
    so that the largest disks sum to a little more than 1.
    """
    reach = max(8, int(radius))
    grid = torch.arange(-reach, reach + 1)
    kernel = (grid[:, None] ** 2 + grid**2 <= radius**2).float()
    kernel /= kernel.sum()
    half = 1 if radius <= 8 else 2
    taps = torch.exp(-0.5 * (torch.arange(-half, half + 1, dtype=torch.float64) / smoothing) ** 2)
    taps = (taps / taps.sum()).float()
    smooth = F.conv2d(F.pad(kernel[None], (half,) * 4, mode="reflect")[None], torch.outer(taps, taps)[None, None])[0, 0]
    smooth[smooth < 1e-12] = 0  # denormal products of such weights are many times slower
    used = int(grid[smooth.amax(0) > 0].max())
    return smooth[reach - used : reach + used + 1, reach - used : reach + used + 1]


def _defocus(images: Tensor, setting: Defocus, draws: Draws) -> Tensor:
    kernel = disk(*setting)
    largest = float(kernel.max())
    half, size = len(kernel) // 2, len(kernel) + TILE - 1
    # A tile of pixels at once, as the channels of one convolution with steps of a tile: many times faster than one.
    shifted = kernel.new_zeros(TILE, TILE, size, size)
    for row in range(TILE):
        for column in range(TILE):
            shifted[row, column, row : row + len(kernel), column : column + len(kernel)] = kernel / largest
    bank = shifted.view(TILE * TILE, 1, size, size).to(images.device)
    side = images.shape[-1]
    rest = half + -side % TILE  # tiles that stick out are cut off again
    padded = F.pad(images.float(), (half, rest, half, rest), mode="reflect").flatten(0, 1)[:, None]
    tiles = F.conv2d(padded, bank, stride=TILE)
    blurred = F.pixel_shuffle(tiles, TILE)[..., :side, :side].reshape(images.shape)
    # Many a sum under an even disk is a whole grey level. The sum is exact so far; float64 leaves it on the side of
    # that level on which the rounded weight puts it in the original.
    return blurred.double().mul_(largest).clamp_(0, 255).byte()


def smear(images: Tensor, setting: Motion, angle: Tensor) -> Tensor:
    """Return images (N, C, S, S), uint8 or whole float values 0..255, smeared; the same in float32, truncated.

    `angle` (N,), in degrees, points from each pixel to those that trail into it, clockwise from the right. The motion
    blur of ImageMagick 6 with 16 bits: whole-pixel steps, one side only, and the last pixel repeated outside.
    """
    count, channels, side = images.shape[:3]
    device = images.device
    steps = torch.arange(2 * setting.radius + 1, device=device)
    weights = torch.exp(-(torch.arange(2 * setting.radius + 1) ** 2).double() / (2 * setting.sigma**2))
    weights /= weights.sum()
    radians = torch.deg2rad(angle.to(device).double())[:, None]
    right = torch.ceil(steps * torch.cos(radians) - 0.5).long()
    down = torch.ceil(steps * torch.sin(radians) - 0.5).long()

    margin = 2 * setting.radius
    padded_side = side + 2 * margin
    places = torch.arange(-margin, side + margin, device=device).clamp_(0, side - 1)
    padded = images.permute(0, 2, 3, 1).float()[:, places][:, :, places].flatten()

    # A row of pixels is one stretch of memory wherever it starts, so each step of the trail copies whole rows.
    width = side * channels
    stretches = padded.as_strided((len(padded) - width + 1, width), (1, 1))
    pixel = torch.arange(count, device=device)[:, None] * padded_side + margin + torch.arange(side, device=device)
    start = pixel * padded_side + margin
    total = padded.new_zeros(count * side, width)
    row = torch.empty_like(total)
    for step, weight in enumerate(weights.tolist()):
        first = (start + (down[:, step] * padded_side + right[:, step])[:, None]) * channels
        torch.index_select(stretches, 0, first.flatten(), out=row)
        total.add_(row, alpha=weight)
    total = total.mul_(257).round_().div_(257).floor_()
    return total.view(count, side, side, channels).permute(0, 3, 1, 2)


def _angle(images: Tensor, setting: Motion, generator: Generator | None) -> Draws:
    return (torch.rand(len(images), dtype=torch.float32, generator=generator, device=images.device) * 90 - 45,)


def _motion(images: Tensor, setting: Motion, draws: Draws) -> Tensor:
    return smear(images, setting, *draws).byte().contiguous()


def _zoom(images: Tensor, setting: Zoom, draws: Draws) -> Tensor:
    total = images.float()
    clean = total.clone()
    step = (1 + setting.step) - 1  # as numpy.arange spaces its values: a rounding decides the size of a zoom by 1.25
    for index in range(setting.zooms):
        matrix = zoom_matrix(images.shape[-1], 1 + index * step, like=clean)
        total += along_sides(clean, matrix, matrix)
    return total.div_(setting.zooms + 1).clamp_(0, 255).byte()


DEFOCUS_BLUR = Corruption(
    "blur",
    cifar=(Defocus(0.3, 0.4), Defocus(0.4, 0.5), Defocus(0.5, 0.6), Defocus(1, 0.2), Defocus(1.5, 0.1)),
    imagenet=(Defocus(3, 0.1), Defocus(4, 0.5), Defocus(6, 0.5), Defocus(8, 0.5), Defocus(10, 0.5)),
    apply=_defocus,
)
MOTION_BLUR = Corruption(
    "blur",
    cifar=(Motion(6, 1), Motion(6, 1.5), Motion(6, 2), Motion(8, 2), Motion(9, 2.5)),
    imagenet=(Motion(10, 3), Motion(15, 5), Motion(15, 8), Motion(15, 12), Motion(20, 15)),
    sample=_angle,
    apply=_motion,
)
ZOOM_BLUR = Corruption(
    "blur",
    cifar=(Zoom(7, 0.01), Zoom(12, 0.01), Zoom(16, 0.01), Zoom(21, 0.01), Zoom(26, 0.01)),
    imagenet=(Zoom(12, 0.01), Zoom(16, 0.01), Zoom(11, 0.02), Zoom(13, 0.02), Zoom(11, 0.03)),
    apply=_zoom,
)
# The setting is the standard deviation in pixels.
GAUSSIAN_BLUR = Corruption(
    "blur",
    cifar=(0.4, 0.6, 0.7, 0.8, 1.0),
    imagenet=(1.0, 2.0, 3.0, 4.0, 6.0),
    apply=_blur_gaussian,
)
