"""Images generated while they are evaluated: what they depend on, and what they do not."""

import numpy as np
import pytest
import torch

import smoothmix.evaluation.generated as generated
from datasets.in_memory import InMemoryData
from smoothmix.corruptions import corrupt
from smoothmix.corruptions.digital import through_jpeg
from smoothmix.evaluation.generated import GeneratedImages
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.numerics import derive_seed
from tests.mistakes import refused

DRAWN = ["gaussian_noise", "glass_blur", "fog"]  # each draws random numbers in another way
TEST = 23  # images: three chunks of 8, 8 and 7


def array_data(side=32, test=TEST):
    rng = np.random.default_rng(0)
    train, test = ((rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8), np.arange(n) % 4) for n in (4, test))
    return InMemoryData(train, test, list("abcd"), (0.5,) * 3, (0.25,) * 3)


@pytest.fixture(scope="module")
def data():
    return array_data()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(generated, "CHUNK", {"cifar": 8, "imagenet": 2})


def images_of(data, rank=0, world_size=1, seed=0, constants="cifar", **options):
    return GeneratedImages(data, constants, seed, Ranks(rank=rank, world_size=world_size), **options)


def whole(batches):
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_a_chunk_is_the_corruption_of_its_images_by_its_own_seed(data):
    batches = list(images_of(data, seed=5).batches("gaussian_noise", 3))
    assert [len(labels) for _, labels in batches] == [8, 8, 7]
    clean, labels = data.arrays("test")
    clean = clean.permute(0, 3, 1, 2)
    for number, start in enumerate((0, 8, 16)):
        generator = torch.Generator().manual_seed(derive_seed(5, "gaussian_noise", 3, number))
        part = slice(start, start + 8)
        assert torch.equal(batches[number][0], corrupt(clean[part], "gaussian_noise", 3, "cifar", generator))
        assert torch.equal(batches[number][1], labels[part])


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("name", DRAWN)
def test_the_number_of_ranks_does_not_change_the_images(data, name, world_size):
    expected = list(images_of(data).batches(name, 2))
    shares = [images_of(data, rank, world_size).batches(name, 2) for rank in range(world_size)]
    assert [len(share.pieces) for share in shares] == [len(range(rank, 3, world_size)) for rank in range(world_size)]
    shares = [list(share) for share in shares]
    for number, (images, labels) in enumerate(expected):
        found_images, found_labels = shares[number % world_size][number // world_size]
        assert torch.equal(found_images, images)
        assert torch.equal(found_labels, labels)


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_the_size_of_a_batch_does_not_change_the_images(data, size):
    expected, labels = whole(images_of(data).batches("fog", 2))
    batches = images_of(data).batches("fog", 2, size)
    sizes = [len(labels) for _, labels in batches]
    assert [*map(len, batches.pieces)] == sizes
    assert max(sizes) == min(size, 8)
    assert torch.equal(whole(batches)[0], expected)
    assert torch.equal(whole(batches)[1], labels)
    assert all(images.is_contiguous(memory_format=torch.channels_last) for images, _ in batches)


@pytest.mark.parametrize("name", DRAWN)
def test_a_cell_does_not_depend_on_those_before_it(data, name):
    expected, _ = whole(images_of(data).batches(name, 4))
    made = images_of(data)
    torch.manual_seed(99)  # nor on torch's own generator
    whole(made.batches("snow", 1)), next(iter(made.batches(name, 4)))
    batches = made.batches(name, 4)
    assert torch.equal(whole(batches)[0], expected)
    assert torch.equal(whole(batches)[0], expected)  # again and again


def test_seeds_severities_and_chunks_draw_differently():
    grey = InMemoryData(
        *(2 * [(np.full((16, 32, 32, 3), 128, np.uint8), np.zeros(16, int))]), ["a"], (0.5,) * 3, (0.25,) * 3
    )
    first, second = (images for images, _ in images_of(grey).batches("gaussian_noise", 1))
    others = [
        whole(images_of(grey, seed=1).batches("gaussian_noise", 1))[0][:8],
        # the same noise at another strength would be seen in its signs
        whole(images_of(grey).batches("gaussian_noise", 2))[0][:8],
        second,
    ]
    for other in others:
        agree = ((first.int() > 128) == (other.int() > 128)).float().mean().item()
        assert agree == pytest.approx(0.5, abs=0.02)  # 24,576 values: the standard deviation is 0.003


def test_what_is_not_installed_is_missing_with_its_remedy(data, monkeypatch):
    def without_a_library(images, name, *arguments):
        if name in ("frost", "jpeg_compression"):
            raise ImportError(f"{name} needs a library; run `pip install it`")
        return corrupt(images, name, *arguments)

    monkeypatch.setattr(generated, "corrupt", without_a_library)
    assert images_of(data).missing(["frost", "snow", "jpeg_compression", "fog"]) == {
        "frost": "frost needs a library; run `pip install it`",
        "jpeg_compression": "jpeg_compression needs a library; run `pip install it`",
    }


def test_an_error_that_is_no_missing_library_is_not_hidden(data):
    with refused("'fogg'", error=ValueError):
        images_of(data).missing(["fogg"])


def test_imagenet_passes_through_jpeg_unless_the_files_will_be_jpeg():
    images = array_data(side=224, test=3)
    bare, _ = whole(images_of(images, constants="imagenet", save_as_jpeg=False).batches("contrast", 3))
    saved, _ = whole(images_of(images, constants="imagenet").batches("contrast", 3))
    assert not torch.equal(saved, bare)
    assert torch.equal(saved, through_jpeg(bare, 85))
