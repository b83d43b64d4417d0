import io

import numpy as np
import torch
from PIL import Image

from smoothmix.utils.pictures import CELL, describe, grid


def opened(*given):
    return np.asarray(Image.open(io.BytesIO(grid(*given))))


def test_small_images_are_enlarged_to_whole_pixels():
    images = torch.rand(3, 3, 32, 32)
    pixels = opened([images, 1 - images])
    assert pixels.shape == (2 * (CELL + 4) + 4, 3 * (CELL + 4) + 4, 3)
    second = pixels[4 : 4 + CELL, 4 + CELL + 4 : 4 + 2 * CELL + 4]
    assert (second[2::4, 2::4] == (images[1] * 255).round().permute(1, 2, 0).numpy()).all()
    assert (second[::4, ::4] == second[3::4, 3::4]).all()


def test_large_images_are_reduced_to_means_and_values_outside_are_clipped():
    images = torch.full((1, 3, 256, 512), 2.0)
    images[:, :, :, 1::2] = -1.0
    pixels = opened([images])[4 : 4 + CELL // 2, 4 : 4 + CELL]
    assert pixels.shape == (CELL // 2, CELL, 3)
    assert ((pixels == 127) | (pixels == 128)).all()


def test_captions_have_room_below_the_images():
    images = torch.zeros(2, 3, 32, 32)
    plain, captioned = opened([images]), opened([images], ["one", "two\nlines"])
    assert len(captioned) == len(plain) + 2 * 12
    below = captioned[len(plain) :]
    assert (below[:, : CELL + 4] < 128).any()
    assert (below[12:, CELL + 4 :] < 128).any()
    assert not (below[12:, : CELL + 4] < 128).any()


def test_a_caption_has_the_largest_weights_first():
    targets = torch.tensor([[0.25, 0.0, 0.75], [0.0, 1.0, 0.004], [0.4, 0.35, 0.25]])
    assert describe(targets, ["cat", "dog", "a very long name indeed"]) == [
        "75 % a very long na\n25 % cat",
        "100 % dog",
        "40 % cat\n35 % dog\n25 % a very long na",
    ]
    assert describe(targets, "abc", most=1) == ["75 % c", "100 % b", "40 % a"]
