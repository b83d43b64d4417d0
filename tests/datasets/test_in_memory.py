import numpy as np
import pytest
import torch
from torchvision.transforms import functional as TF

from datasets.augment import draw_crop_flip
from datasets.in_memory import InMemoryData
from datasets.sampling import epoch_order
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.numerics import derive_seed
from tests.batches import epoch_of
from tests.mistakes import refused

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


@pytest.fixture
def data(pictures):
    train, test = pictures(53), pictures(17, seed=1)
    names = [str(i) for i in range(53)]
    return InMemoryData((train, range_labels(53)), (test, range_labels(17)), names, MEAN, STD)


def range_labels(n: int) -> torch.Tensor:
    """One label per image, so that a batch's labels say which images it holds."""
    return torch.arange(n)


def collect(batches) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def by_label(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return images[labels.argsort()]


def test_training_batches_are_the_slow_loop_on_the_same_numbers(data, pictures):
    seed, epoch = 3, 2
    offsets, flips = draw_crop_flip(53, 4, True, torch.Generator().manual_seed(derive_seed(seed, "augment", epoch)))
    order = epoch_order(53, seed, epoch)
    images, labels = collect(epoch_of(data.train_batches(10, seed), epoch))
    assert labels.tolist() == order
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    source = torch.from_numpy(pictures(53)).permute(0, 3, 1, 2)
    for got, i in zip(images, order, strict=True):
        image = TF.crop(TF.pad(source[i], 4), *offsets[i].tolist(), 32, 32)
        image = TF.hflip(image) if flips[i] else image
        assert torch.equal(got, TF.normalize(image.float() / 255, MEAN, STD))


def test_batches_are_channels_last_and_the_last_is_partial(data):
    batches = data.train_batches(10, seed=0)
    got = list(epoch_of(batches, 0))
    assert len(batches.pieces) == len(got) == 6
    assert [len(labels) for _, labels in got] == [10] * 5 + [3]
    assert all(images.is_contiguous(memory_format=torch.channels_last) for images, _ in got)


def test_every_image_once_per_epoch_and_epochs_and_seeds_differ(data):
    runs = {(seed, epoch): collect(epoch_of(data.train_batches(8, seed), epoch)) for seed in (0, 1) for epoch in (0, 1)}
    assert all(sorted(labels.tolist()) == list(range(53)) for _, labels in runs.values())
    keys = list(runs)
    for i, a in enumerate(keys):
        for b in keys[i + 1 :]:
            assert runs[a][1].tolist() != runs[b][1].tolist()
            # 1 in 162 images draws the same crop twice; hardly more do here
            same = (by_label(*runs[a]) == by_label(*runs[b])).flatten(1).all(1).sum()
            assert same <= 4
    again = collect(epoch_of(data.train_batches(8, 1), 1))
    assert torch.equal(again[0], runs[1, 1][0])


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_covers_every_image_once(data, pictures, world_size):
    parts = [data.eval_batches("test", 6, Ranks(rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert [collect(part)[1].tolist() for part in parts] == [
        list(range(rank, 17, world_size)) for rank in range(world_size)
    ]
    images, labels = collect([batch for part in parts for batch in part])  # the second time they are iterated
    assert sorted(labels.tolist()) == list(range(17))
    source = torch.from_numpy(pictures(17, seed=1)).permute(0, 3, 1, 2)
    expected = TF.normalize(source.float() / 255, MEAN, STD)
    assert torch.equal(by_label(images, labels), expected)
    assert all([*map(len, part.pieces)] == [len(labels) for _, labels in part] for part in parts)


def test_image_batches_are_the_images_as_they_are(data, pictures):
    source = torch.from_numpy(pictures(17, seed=1)).permute(0, 3, 1, 2)
    batches = data.image_batches("test", [range(3, 8), range(0, 17, 5)])
    assert batches.pieces == [range(3, 8), range(0, 17, 5)]
    for _ in range(2):
        (first, of_first), (second, of_second) = batches
        assert torch.equal(first, source[3:8])
        assert torch.equal(second, source[::5])
        assert (of_first.tolist(), of_second.tolist()) == ([3, 4, 5, 6, 7], [0, 5, 10, 15])
    with refused("'val'", error=ValueError):
        data.image_batches("val", [range(3)])


def test_evaluating_the_training_images_leaves_the_padding_out(data, pictures):
    images, labels = collect(data.eval_batches("train", 20))
    assert labels.tolist() == list(range(53))
    source = torch.from_numpy(pictures(53)).permute(0, 3, 1, 2)
    assert torch.equal(images, TF.normalize(source.float() / 255, MEAN, STD))
    raw, labels = data.arrays("train")
    assert torch.equal(raw, source.permute(0, 2, 3, 1))


def test_held_out_images_leave_training_and_are_not_augmented(pictures):
    images, labels = pictures(60), torch.arange(60)
    data = InMemoryData((images, labels % 3), (images[:9], labels[:9] % 3), list("abc"), MEAN, STD, val_split=15)
    assert data.sizes == {"train": 45, "val": 15, "test": 9}
    assert data.arrays("val")[1].bincount().tolist() == [5, 5, 5]
    together = torch.cat([data.arrays("train")[0], data.arrays("val")[0]]).flatten(1)
    assert sorted(map(tuple, together.tolist())) == sorted(map(tuple, torch.from_numpy(images).flatten(1).tolist()))
    got, _ = collect(data.eval_batches("val", 4))
    expected = TF.normalize(data.arrays("val")[0].permute(0, 3, 1, 2).float() / 255, MEAN, STD)
    assert torch.equal(got, expected)


def test_channels_first_arrays_are_the_same_data(pictures):
    images, labels = pictures(8), range_labels(8)
    first = images.transpose(0, 3, 1, 2)
    a = InMemoryData((images, labels), (images, labels), list("abcdefgh"), MEAN, STD)
    b = InMemoryData((first, labels), (first, labels), list("abcdefgh"), MEAN, STD)
    assert a.fingerprint == b.fingerprint
    assert torch.equal(collect(epoch_of(a.train_batches(4, 0), 0))[0], collect(epoch_of(b.train_batches(4, 0), 0))[0])


def test_fingerprint_follows_the_data(pictures):
    images, labels = pictures(8), range_labels(8)

    def fingerprint(images=images, labels=labels, names="abcdefgh", **options):
        return InMemoryData((images, labels), (images, labels), list(names), MEAN, STD, **options).fingerprint

    other = images.copy()
    other[3, 4, 5, 1] ^= 1
    prints = [fingerprint(), fingerprint(other), fingerprint(labels=labels.flip(0)), fingerprint(names="abcdefgi")]
    prints.append(fingerprint(val_split=1))
    assert len(set(prints)) == 5
    assert fingerprint() == prints[0]


def test_images_that_are_no_square_uint8_rgb_are_refused(pictures):
    images, labels = pictures(4), range_labels(4)
    with refused("torch.float32", error=ValueError):
        InMemoryData((images.astype("float32"), labels), (images, labels), list("abcd"), MEAN, STD)
    with refused((4, 16, 32, 3), error=ValueError):
        InMemoryData((images[:, :16], labels), (images, labels), list("abcd"), MEAN, STD)


@pytest.mark.gpu
def test_an_epoch_on_the_gpu_never_waits_and_has_the_same_pixels(data):
    batches = data.train_batches(10, seed=1, ranks=Ranks(torch.device("cuda", 0)))
    expected = collect(epoch_of(data.train_batches(10, seed=1), 0))
    list(epoch_of(batches, 0))  # copies the store and the constants
    torch.cuda.set_sync_debug_mode("error")
    try:
        got = list(epoch_of(batches, 0))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    images, labels = collect(got)
    assert torch.equal(labels.cpu(), expected[1])
    torch.testing.assert_close(images.cpu(), expected[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("labels", [[0, 1, 2, 4], [0, 1, -1, 3], [0, 1, 2, 2**40]])
@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_out_of_range_are_refused(pictures, labels, split):
    good = (pictures(4), np.arange(4))
    parts = {"train": good, "test": good, split: (pictures(4), np.array(labels))}
    with refused(split, min(labels), max(labels), "0 to 3"):
        InMemoryData(parts["train"], parts["test"], list("abcd"), (0.5,) * 3, (0.25,) * 3)


def test_an_empty_test_set_is_refused(pictures):
    with refused("test"):
        InMemoryData((pictures(4), np.arange(4)), (pictures(0), np.arange(0)), list("abcd"), (0.5,) * 3, (0.25,) * 3)
