"""The nineteen corruptions as one function."""

import csv
import math
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from smoothmix.corruptions import CORRUPTIONS, SIDES, apply, constants_for, corrupt, sample
from smoothmix.corruptions.corruption import no_draws
from smoothmix.corruptions.digital import through_jpeg
from tests.mistakes import refused

ROOT = Path(__file__).parents[2]
RANDOM = [name for name, corruption in CORRUPTIONS.items() if corruption.sample is not no_draws]


def smooth_images(benchmark, count=2, side=None):
    small = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(small, size=side or SIDES[benchmark], mode="bilinear")
    return (255 * large).to(torch.uint8)


def generator():
    return torch.Generator().manual_seed(7)


def test_names_order_and_categories_are_those_of_the_papers_table_4():
    with open(ROOT / "results" / "paper" / "table4.csv") as file:
        rows = {row["corruption"]: row["category"] for row in csv.DictReader(file) if row["corruption"] != "average"}
    assert len(CORRUPTIONS) == 19
    assert {name: corruption.category for name, corruption in CORRUPTIONS.items()} == rows
    assert list(CORRUPTIONS) == list(rows)
    assert all(len(corruption.cifar) == len(corruption.imagenet) == 5 for corruption in CORRUPTIONS.values())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupt_samples_and_applies(name):
    images = smooth_images("cifar")
    before = images.clone()
    for severity in (1, 5):
        found = corrupt(images, name, severity, "cifar", generator())
        draws = sample(images, name, severity, "cifar", generator())
        assert torch.equal(found, apply(images, name, severity, "cifar", draws))
        assert found.dtype == torch.uint8
        assert found.shape == images.shape
        assert not torch.equal(found, images)
        assert all(len(draw) == len(images) for draw in draws)
    assert torch.equal(images, before)


@pytest.mark.parametrize("benchmark", SIDES)
@pytest.mark.parametrize("name", RANDOM)
def test_draws_come_from_the_generator_alone_and_differ_between_images(name, benchmark):
    images = smooth_images(benchmark, 1).repeat(3, 1, 1, 1)
    before = images.clone()

    def run(seed):
        return corrupt(images, name, 4, benchmark, torch.Generator().manual_seed(seed), save_as_jpeg=False)

    first, state = run(0), torch.get_rng_state()
    assert torch.equal(run(0), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, before)
    assert (run(1) != first).flatten(1).any(1).all()
    assert len(first.flatten(1).unique(dim=0)) == 3


@pytest.mark.parametrize("benchmark", SIDES)
def test_the_surroundings_of_a_call_change_nothing(benchmark, surroundings):
    images = smooth_images(benchmark)
    for name in CORRUPTIONS:
        for severity in (1, 4) if benchmark == "cifar" else (1,):
            expected = corrupt(images, name, severity, benchmark, generator())
            with surroundings():
                found = corrupt(images, name, severity, benchmark, generator())
            assert torch.equal(found, expected), name


def test_torchs_own_generator_is_the_default():
    images = smooth_images("cifar")
    with torch.random.fork_rng():
        torch.manual_seed(7)
        found = corrupt(images, "gaussian_noise", 1)
    assert torch.equal(found, corrupt(images, "gaussian_noise", 1, "cifar", generator()))


@pytest.mark.parametrize("name", ["gaussian_noise", "contrast"])
def test_imagenet_is_saved_as_jpeg_and_cifar_is_not(name):
    images = smooth_images("imagenet")
    bare = corrupt(images, name, 2, "imagenet", generator(), save_as_jpeg=False)
    assert torch.equal(bare, apply(images, name, 2, "imagenet", sample(images, name, 2, "imagenet", generator())))
    saved = corrupt(images, name, 2, "imagenet", generator())
    assert not torch.equal(saved, bare)
    assert torch.equal(saved, through_jpeg(bare, 85))

    small = smooth_images("cifar")
    kinds = [corrupt(small, name, 2, "cifar", generator(), save_as_jpeg=flag) for flag in (True, False)]
    assert torch.equal(*kinds)


def test_the_benchmarks_have_their_own_constants():
    assert CORRUPTIONS["contrast"].cifar == (0.75, 0.5, 0.4, 0.3, 0.15)
    assert CORRUPTIONS["contrast"].imagenet == (0.4, 0.3, 0.2, 0.1, 0.05)
    images = torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
    images[..., 112:] = 200  # mean 100: contrast 0.4 gives 60 and 140, 0.05 gives 95 and 105
    for severity, (low, high) in {1: (60, 140), 5: (95, 105)}.items():
        found = corrupt(images, "contrast", severity, "imagenet", save_as_jpeg=False)
        assert found.min().item() == pytest.approx(low, abs=1)
        assert found.max().item() == pytest.approx(high, abs=1)


CIFAR, IMAGENET = (torch.zeros(1, 3, side, side, dtype=torch.uint8) for side in (32, 224))


@pytest.mark.parametrize(
    ("images", "arguments", "words"),
    [
        (CIFAR, ("gausian_noise", 1), ["'gausian_noise'", "gaussian_noise?"]),
        (CIFAR, ("xyz", 1), ["'xyz'", "shot_noise"]),
        *[(CIFAR, ("fog", severity), ["severity", "1, 2, 3, 4 or 5", severity]) for severity in (0, 6, 2.5)],
        (CIFAR, ("fog", 1, "cifar10"), ["'cifar10'", "imagenet"]),
        (CIFAR.float(), ("fog", 1), ["torch.float32", "uint8"]),
        (CIFAR, ("fog", 1, "imagenet"), [32, "'imagenet'", "85 to 4096"]),
        (IMAGENET, ("fog", 1, "cifar"), [224, "'cifar'", "32 to 84"]),
        (CIFAR[..., :20, :20], ("fog", 1), [20]),
        (CIFAR[:, :1], ("fog", 1), [(1, 1, 32, 32), "(N, 3, S, S)"]),
        (CIFAR.permute(0, 2, 3, 1), ("fog", 1), [(1, 32, 32, 3), "(N, 3, S, S)"]),
    ],
)
def test_mistakes(images, arguments, words):
    for function in (corrupt, sample):
        with refused(*words, error=ValueError):
            function(images, *arguments)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("side", [45, 64, 85, 130])
def test_other_sizes(name, side):
    benchmark = "cifar" if side < 85 else "imagenet"
    images = smooth_images(benchmark, side=side)
    changes = []
    for severity in (1, 5):
        found = corrupt(images, name, severity, benchmark, generator(), save_as_jpeg=False)
        assert found.shape == images.shape
        changes.append((found.float() - images.float()).abs().mean().item())
    assert changes[1] > 0.5
    assert changes[1] > changes[0] or name in ("saturate", "elastic_transform")  # whose severities differ in kind


@pytest.mark.parametrize(("side", "benchmark"), [(32, "cifar"), (84, "cifar"), (85, "imagenet"), (600, "imagenet")])
def test_the_nearer_benchmark_gives_the_constants(side, benchmark):
    assert constants_for(side) == benchmark
    nearest = min(SIDES, key=lambda name: abs(math.log(side / SIDES[name])))
    assert nearest == benchmark


@pytest.mark.parametrize("side", [1, 31, 5000])
def test_images_that_have_no_constants(side):
    with refused(side):
        constants_for(side)


MOVES = [name for name in CORRUPTIONS if "blur" in name or name in ("elastic_transform", "pixelate")]


@pytest.mark.parametrize("benchmark", SIDES)
@pytest.mark.parametrize("name", MOVES)
def test_what_blurs_or_moves_pixels_leaves_one_colour_as_it_is(name, benchmark):
    colours = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    images = colours.repeat(1, 3, SIDES[benchmark], SIDES[benchmark])
    found = corrupt(images, name, 5, benchmark, generator(), save_as_jpeg=False)
    assert not found[0].any()
    assert (found.int() - images.int()).abs().max() <= 1


@pytest.mark.parametrize("name", ["spatter", "jpeg_compression"])
def test_without_opencv_it_says_what_to_install(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with refused("pip install opencv-python-headless", error=ImportError):
        corrupt(smooth_images("cifar"), name, 1)


# motion blur and snow, defocus and glass blur, frost read numbers on the CPU; spatter and JPEG go through OpenCV
READ = ("motion_blur", "snow", "defocus_blur", "glass_blur", "frost", "spatter", "jpeg_compression")


@pytest.mark.parametrize("benchmark", SIDES)
@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in READ])
def test_all_that_meets_the_images_is_on_their_device(name, benchmark):
    """Fake tensors of a GPU hold no numbers, and an operation on two devices raises."""
    with FakeTensorMode():
        images = torch.zeros(2, 3, SIDES[benchmark], SIDES[benchmark], dtype=torch.uint8, device="cuda")
        draws = sample(images, name, 3, benchmark)
        found = apply(images, name, 3, benchmark, draws)
    assert {tensor.device.type for tensor in (*draws, found)} == {"cuda"}
    assert (found.dtype, found.shape) == (torch.uint8, images.shape)


@pytest.mark.parametrize(("images", "benchmark"), [(CIFAR, "cifar"), (IMAGENET, "imagenet")])
def test_one_image_by_the_constants_of_its_size(images, benchmark):
    image = torch.randint(256, images.shape[1:], dtype=torch.uint8, generator=generator())
    found = corrupt(image, "gaussian_noise", 2, generator=generator())
    assert torch.equal(found, corrupt(image[None], "gaussian_noise", 2, benchmark, generator())[0])
