import io

import numpy as np
import pytest
import torch
from PIL import Image

from smoothmix.corruptions.digital import PIXELATE, through_jpeg


def draw(side, count=2):
    """Smooth colours with noise, so that every step of a codec has something to do."""
    generator = torch.Generator().manual_seed(side)
    waves = torch.linspace(0, 9, side).sin() * torch.rand(count, 3, side, 1, generator=generator) * 100 + 128
    return waves.add(torch.randn(count, 3, side, side, generator=generator) * 20).clamp(0, 255).to(torch.uint8)


def each_with_pillow(images, change):
    pictures = (Image.fromarray(image.permute(1, 2, 0).numpy().copy()) for image in images)
    return torch.stack([torch.from_numpy(np.array(change(picture))).permute(2, 0, 1) for picture in pictures])


@pytest.mark.parametrize(("side", "quality"), [(32, 58), (40, 85), (224, 85)])
@pytest.mark.parametrize("optimize", [False, True])
def test_jpeg_has_the_pixels_of_pillow(side, quality, optimize):
    def saved(picture):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=optimize)
        return Image.open(file)

    images = draw(side)
    assert torch.equal(through_jpeg(images, quality), each_with_pillow(images, saved))


def test_jpeg_takes_images_in_any_memory_layout():
    images = draw(32)
    assert torch.equal(through_jpeg(images.to(memory_format=torch.channels_last), 50), through_jpeg(images, 50))


@pytest.mark.parametrize("benchmark", ["cifar", "imagenet"])
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_pixelate_has_the_pixels_of_pillow(benchmark, severity):
    images = draw(32 if benchmark == "cifar" else 224)
    setting, side = getattr(PIXELATE, benchmark)[severity - 1], images.shape[-1]

    def resized(picture):
        small = picture.resize((int(side * setting), int(side * setting)), Image.Resampling.BOX)
        return small.resize((side, side), Image.Resampling.BOX)

    assert torch.equal(PIXELATE.apply(images, setting, ()), each_with_pillow(images, resized))
