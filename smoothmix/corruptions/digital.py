"""Pixelate and JPEG compression."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from smoothmix.corruptions.corruption import Corruption, Draws


def through_jpeg(images: Tensor, quality: int) -> Tensor:
    """Return uint8 (N, 3, H, W) as they come back from JPEG files of `quality` 1 to 100, chroma at half resolution.

    Image by image on the CPU, by OpenCV's codec, whose pixels are Pillow's. How tightly a file is packed (Pillow's
    `optimize`) does not change its pixels.

    Raises:
        ImportError: OpenCV is not installed.
    """
    try:
        import cv2
        import numpy
    except ImportError as error:
        raise ImportError("JPEG compression uses OpenCV; run `pip install opencv-python-headless`") from error
    decoded = numpy.empty(tuple(images.shape), dtype=numpy.uint8)
    for (red, green, blue), planes in zip(images.cpu().numpy(), decoded, strict=True):
        _, file = cv2.imencode(".jpg", cv2.merge((blue, green, red)), (cv2.IMWRITE_JPEG_QUALITY, quality))
        image = cv2.imdecode(file, cv2.IMREAD_COLOR)
        assert image is not None  # the file is whole: it was made just now
        cv2.split(image, tuple(planes[::-1]))
    return torch.from_numpy(decoded).to(images.device)


def _jpeg_compression(images: Tensor, setting: int, draws: Draws) -> Tensor:
    return through_jpeg(images, setting)


def _pixelate(images: Tensor, setting: float, draws: Draws) -> Tensor:
    """Resize to `setting` times the side and back with Pillow's box filter.

    So every pixel takes the mean of its box, which is rounded after averaging rows and again after columns.
    """
    side = images.shape[-1]
    boxes = int(side * setting)
    owner = (2 * torch.arange(side, device=images.device) + 1) * boxes // (2 * side)
    members = one_hot(owner, boxes).float()
    members /= members.sum(0)
    means = (images.float() @ members).add_(0.5).floor_()
    means = (members.T @ means).add_(0.5).to(torch.uint8)
    return means.index_select(-1, owner).index_select(-2, owner)


PIXELATE = Corruption(
    category="digital", cifar=(0.95, 0.9, 0.85, 0.75, 0.65), imagenet=(0.6, 0.5, 0.4, 0.3, 0.25), apply=_pixelate
)
JPEG_COMPRESSION = Corruption(
    category="digital", cifar=(80, 65, 58, 50, 40), imagenet=(25, 18, 15, 10, 7), apply=_jpeg_compression
)
