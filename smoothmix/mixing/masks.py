"""The masks G of the paper (Sec. 3.3) and the hard box of Cutout and CutMix.

All three are products of one profile along y and one along x (Eq. 6). The pixel with index i sits at i + 0.5, so an
image of height H spans 0 to H. Positions and lengths are in pixels and need not be whole.

Every argument but `size` is a number or a tensor of shape (N,), one entry per sample. Numbers alone give a mask of
shape (H, W) on torch's default device; with a tensor among them its shape is (N, 1, H, W), on the tensor's device.
Masks are float32 with values in [0, 1]. Numbers are checked; the values inside a tensor are not, because reading
them would make the host wait for the device.
"""

import math

import torch
from torch import Tensor

Number = float | Tensor

# Smallest width that a division is trusted with; below it a ramp is a step.
_TINY = torch.finfo(torch.float32).tiny


def gaussian_mask(size: tuple[int, int], center: tuple[Number, Number], sigma: Number) -> Tensor:
    """Return the circular mask of SmoothMix_C: exp(-(x - mu)^2 / (2 sigma^2)) along y times the same along x.

    Eq. 7 and 6. The peak is 1, at `center`; the mask is not normalised.

    Args:
        size: (H, W), the image's height and width in pixels.
        center: (y, x) in pixels; may lie outside the image.
        sigma: standard deviation in pixels, >= 0. At 0 only a pixel that sits exactly at the centre is 1.

    Returns:
        float32 mask, (H, W) for numbers or (N, 1, H, W) for tensors.

    Raises:
        ValueError: a side of `size` that is not a positive integer, a number that is not finite, a negative `sigma`,
            or a tensor that is not of shape (N,).
    """
    _check_not_negative("sigma", sigma)
    offset_y, offset_x, (width,) = _prepare(size, center, [("sigma", sigma)])
    width = width.clamp_min(_TINY)
    return _outer(torch.exp(-0.5 * (offset_y / width) ** 2), torch.exp(-0.5 * (offset_x / width) ** 2))


def square_mask(size: tuple[int, int], center: tuple[Number, Number], sigma: Number, k: Number) -> Tensor:
    """Return the mask of SmoothMix_S: a square of side `sigma` whose border is a linear ramp.

    Along each dimension the profile is clip(1/2 + (sigma/2 - abs(x - mu)) / (2 k sigma), 0, 1): Eq. 5, read so that the
    smooth border is proportional to the patch (as printed, its slope and its limits do not agree). With k = 0.2 it is 1
    up to 0.3 sigma from the centre, 1/2 at the edge (0.5 sigma) and 0 from 0.7 sigma on. Eq. 6 multiplies the two.

    Args:
        size: (H, W), the image's height and width in pixels.
        center: (y, x) in pixels; may lie outside the image.
        sigma: side of the square in pixels, >= 0. At 0 the mask is zero everywhere.
        k: half-width of the ramp as a fraction of `sigma`, >= 0. At 0 the mask is `box_mask` with sides (sigma, sigma).

    Returns:
        float32 mask, (H, W) for numbers or (N, 1, H, W) for tensors.

    Raises:
        ValueError: a side of `size` that is not a positive integer, a number that is not finite, a negative `sigma` or
            `k`, or a tensor that is not of shape (N,).
    """
    _check_not_negative("sigma", sigma)
    _check_not_negative("k", k)
    offset_y, offset_x, (side, fraction) = _prepare(size, center, [("sigma", sigma), ("k", k)])
    ramp, half_side = 2 * fraction * side, side / 2
    at_edge, ramp = (ramp > _TINY).float() / 2, ramp.clamp_min(_TINY)  # a step is 0 at its edge

    def profile(offset: Tensor) -> Tensor:
        return (at_edge + (half_side - offset.abs()) / ramp).clamp(0, 1)

    return _outer(profile(offset_y), profile(offset_x))


def box_mask(size: tuple[int, int], center: tuple[Number, Number], sides: tuple[Number, Number]) -> Tensor:
    """Return the hard box of Cutout and CutMix: 1 for the pixels that sit strictly inside it, 0 elsewhere.

    The part outside the image is cut off. Around a whole-numbered centre c a whole-numbered side s covers the pixels
    c - s//2 to c + s//2 - 1, the convention of the Cutout and CutMix codes: an odd side loses one pixel.

    Args:
        size: (H, W), the image's height and width in pixels.
        center: (y, x) in pixels; may lie outside the image.
        sides: (height, width) of the box in pixels, >= 0. At 0 the mask is zero everywhere.

    Returns:
        float32 mask of zeros and ones, (H, W) for numbers or (N, 1, H, W) for tensors.

    Raises:
        ValueError: a side of `size` that is not a positive integer, a number that is not finite, a negative side, or a
            tensor that is not of shape (N,).
    """
    _check_not_negative("the box height", sides[0])
    _check_not_negative("the box width", sides[1])
    offset_y, offset_x, (height, width) = _prepare(
        size, center, [("the box height", sides[0]), ("the box width", sides[1])]
    )
    return _outer((offset_y.abs() < height / 2).float(), (offset_x.abs() < width / 2).float())


def _prepare(
    size: tuple[int, int], center: tuple[Number, Number], lengths: list[tuple[str, Number]]
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return the pixels' offsets from the centre along y and x, and `lengths` in shapes that broadcast with them."""
    for side in size:
        if not isinstance(side, int) or side < 1:
            raise ValueError(f"size must be (H, W) in whole pixels, but got {tuple(size)}: pass images.shape[-2:].")
    named = [("the centre's y", center[0]), ("the centre's x", center[1]), *lengths]
    devices = [value.device for _, value in named if isinstance(value, Tensor)]
    device = devices[0] if devices else None
    y, x, *rest = (_as_column(name, value, device) for name, value in named)
    along_y = _pixel_positions(size[0], device)
    along_x = along_y if size[0] == size[1] else _pixel_positions(size[1], device)
    return along_y - y, along_x - x, rest


def _as_column(name: str, value: Number, device: torch.device | None) -> Tensor:
    """Return float32 (N, 1) for a tensor (N,), and (1,) for a number, to broadcast with positions along one side."""
    if isinstance(value, Tensor):
        if value.ndim > 1:
            raise ValueError(f"{name} has shape {tuple(value.shape)}: pass a number or one per sample, shape (N,).")
        return value.float().unsqueeze(-1)
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}: pass a finite number of pixels.")
    # full, not tensor: it fills on the device, where a copy from the host could not be captured in a CUDA graph.
    return torch.full((1,), float(value), dtype=torch.float32, device=device)


def _check_not_negative(name: str, value: Number) -> None:
    if not isinstance(value, Tensor) and value < 0:
        raise ValueError(f"{name} is {value}: it is a length and must be 0 or more.")


def _pixel_positions(length: int, device: torch.device | None) -> Tensor:
    return torch.arange(length, dtype=torch.float32, device=device) + 0.5


def _outer(profile_y: Tensor, profile_x: Tensor) -> Tensor:
    """Return the product of two profiles (Eq. 6): (H, W) from (H,) and (W,); (N, 1, H, W) where one has a batch."""
    mask = profile_y.unsqueeze(-1) * profile_x.unsqueeze(-2)
    return mask if mask.ndim == 2 else mask.unsqueeze(1)
