"""AutoAugment and AugMix in the two kinds of data sets that have them."""

import multiprocessing
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional as TF

import datasets
from datasets import class_folders
from datasets.augment import draw_crop_flip, draw_resized_crop
from datasets.folder import IMAGENET_MEAN, IMAGENET_STD
from datasets.image_augment import check_augment
from datasets.in_memory import InMemoryData, TrainBatches
from datasets.sampling import epoch_order
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.numerics import derive_seed
from tests.batches import epoch_of
from tests.datasets.test_in_memory import collect
from tests.mistakes import refused

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
N, SEED, EPOCH = 21, 6, 2
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 24, 30, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def arrays():
    """A function that makes the data set, one that makes image i as it is before the augmentation, and facts."""
    images = np.ascontiguousarray(PIXELS[:, :, :24])

    def make(augment="none", workers=0):
        split = images, torch.arange(N)
        return InMemoryData(split, split, [str(i) for i in range(N)], MEAN, STD, augment=augment, workers=workers)

    def cropped(i):
        stream = torch.Generator().manual_seed(derive_seed(SEED, "augment", EPOCH))
        offsets, flips = draw_crop_flip(N, 4, True, stream)
        image = TF.crop(TF.pad(Image.fromarray(images[i]), 4), *offsets[i].tolist(), 24, 24)
        return TF.hflip(image) if flips[i] else image

    return SimpleNamespace(make=make, cropped=cropped, mean=MEAN, std=STD, policy="cifar10", fill=(125, 123, 114))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    for i in range(N):
        for split in ("train", "val"):
            folder = root / split / f"class{i:02}"
            folder.mkdir(parents=True)
            Image.fromarray(PIXELS[i]).save(folder / "image.png")

    def make(augment="none", workers=0, jitter=0.0, lighting=0.0):
        options = {"jitter": jitter, "lighting": lighting, "image_size": 16, "resize": 20}
        return class_folders(root, augment=augment, workers=workers, **options)

    def cropped(i):
        stream = torch.Generator().manual_seed(derive_seed(SEED, "item", EPOCH, i))
        box = draw_resized_crop(24, 30, (0.08, 1.0), (3 / 4, 4 / 3), stream)
        image = TF.resized_crop(Image.fromarray(PIXELS[i]), *box, [16, 16])
        return TF.hflip(image) if torch.rand((), generator=stream) < 0.5 else image

    grey = (128, 128, 128)
    return SimpleNamespace(
        make=make, cropped=cropped, mean=IMAGENET_MEAN, std=IMAGENET_STD, policy="imagenet", fill=grey
    )


@pytest.fixture(params=["arrays", "folder"])
def kind(request):
    return request.getfixturevalue(request.param)


def assert_same(batches, others):
    for one, other in zip(batches, others, strict=True):
        assert all(map(torch.equal, one, other))


def by_view(batches, views):
    """(views, n, 3, S, S) and (views, n), in the order of the epoch."""
    images, labels = zip(*batches, strict=True)
    return (torch.cat([part.unflatten(0, (views, -1)) for part in parts], dim=1) for parts in (images, labels))


def test_autoaugment_is_torchvisions(kind):
    data = kind.make("autoaugment")
    images, labels = collect(epoch_of(data.train_batches(8, SEED), EPOCH))
    order = epoch_order(N, SEED, EPOCH)
    assert labels.tolist() == order
    theirs = transforms.AutoAugment(transforms.AutoAugmentPolicy(kind.policy), fill=kind.fill)
    changed = 0
    for got, i in zip(images, order, strict=True):
        plain = kind.cropped(i)
        torch.manual_seed(derive_seed(SEED, "augment", EPOCH, i))
        expected = theirs(plain)
        changed += not np.array_equal(expected, plain)
        assert torch.equal(got, TF.normalize(TF.to_tensor(expected), kind.mean, kind.std))
    assert changed >= N / 2


def test_augmix_yields_clean_images_and_two_blends(kind):
    plain_images, plain_labels = collect(epoch_of(kind.make().train_batches(8, SEED), EPOCH))
    batches = list(epoch_of(kind.make("augmix").train_batches(8, SEED), EPOCH))
    assert [len(images) for images, _ in batches] == [24, 24, 15]
    assert all(images.is_contiguous(memory_format=torch.channels_last) for images, _ in batches)
    (clean, one, two), labels = by_view(batches, 3)
    assert torch.equal(clean, plain_images)
    assert torch.equal(labels, plain_labels.expand(3, N))
    for a, b in ((clean, one), (clean, two), (one, two)):
        assert ((a - b).abs().mean((1, 2, 3)) > 0.01).float().mean() > 0.7
    # each blend keeps a part of its own image and of no other
    alike = torch.cdist(one.flatten(1), clean.flatten(1)).argmin(dim=1)
    assert (alike == torch.arange(N)).float().mean() > 0.7


def test_augmix_has_the_severity_of_its_data_set(kind):
    data = kind.make("augmix")
    augment = data.augment if kind.policy == "cifar10" else data.transform.augment
    assert augment.severity == {"cifar10": 3, "imagenet": 1}[kind.policy]
    images, _ = by_view(epoch_of(data.train_batches(8, SEED), EPOCH), 3)
    i = epoch_order(N, SEED, EPOCH)[13]
    columns = augment(kind.cropped(i), derive_seed(SEED, "augment", EPOCH, i))
    expected = TF.normalize(augment.to_float(*(column[None] for column in columns)), kind.mean, kind.std)
    assert torch.equal(images[:, 13], expected)


def test_jitter_and_lighting_are_those_of_the_plain_images(folder):
    options = {"jitter": 0.4, "lighting": 0.1}
    plain, _ = collect(epoch_of(folder.make(**options).train_batches(8, SEED), EPOCH))
    (clean, one, _), _ = by_view(epoch_of(folder.make("augmix", **options).train_batches(8, SEED), EPOCH), 3)
    assert torch.equal(clean, plain)
    # a blend gets the same: brightness first of all is a factor, so the means go up and down together
    (before, blend, _), _ = by_view(epoch_of(folder.make("augmix").train_batches(8, SEED), EPOCH), 3)
    changes = torch.stack([(clean - before).mean((1, 2, 3)), (one - blend).mean((1, 2, 3))])
    assert changes.corrcoef()[0, 1] > 0.9


@pytest.mark.parametrize("augment", ["none", "autoaugment", "augmix"])
def test_workers_ranks_steps_and_the_global_generator_change_nothing(kind, augment):
    views, in_memory = kind.make(augment).views, isinstance(kind.make(), InMemoryData)
    alone = {epoch: list(epoch_of(kind.make(augment).train_batches(6, SEED), epoch)) for epoch in (0, 1)}
    assert not torch.equal(alone[0][0][0], alone[1][0][0])
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for workers in (0, 1, 2):
        data, children = kind.make(augment, workers), []
        batches = data.train_batches(6, SEED)
        for epoch in (0, 1):
            assert_same(epoch_of(batches, epoch), alone[epoch])
            children.append({child.pid for child in multiprocessing.active_children()})
        assert len(children[0]) == data.workers == (0 if in_memory and augment == "none" else workers)
        assert isinstance(batches, TrainBatches) == (in_memory and augment == "none")
        assert children[0] == children[1], "the workers of the first epoch serve the second"
        for start in (3, 1, 4):  # later epochs may start anywhere, also after one that was left in the middle
            next(epoch_of(batches, 0))
            assert_same(epoch_of(batches, 1, start_step=start), alone[1][start:])
        beyond = len(alone[1]) + 1
        with refused(f"start_step={beyond}", error=ValueError):
            next(epoch_of(batches, 1, start_step=beyond))
        del batches
    list(data.eval_batches("test", 6))
    for world_size in (2, 3):
        ranks = [Ranks(rank=rank, world_size=world_size) for rank in range(world_size)]
        ranks = [list(epoch_of(kind.make(augment).train_batches(6, SEED, one), 1)) for one in ranks]
        for whole, *parts in zip(alone[1], *ranks, strict=True):
            (images, labels), (theirs, their_labels) = by_view([whole], views), by_view(parts, views)
            kept = labels.shape[1] // world_size * world_size
            assert torch.equal(theirs, images[:, :kept])
            assert torch.equal(their_labels, labels[:, :kept])
    assert torch.equal(torch.get_rng_state(), before), "the global generator was used"


def test_the_generators_of_gpus_are_left_alone(kind, monkeypatch):
    def fail(*arguments):
        raise AssertionError("a GPU's generator was seeded")

    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, fail)
    list(epoch_of(kind.make("autoaugment").train_batches(8, SEED), 0))


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("augment", ["none", "autoaugment", "augmix"])
def test_the_gpu_gets_the_same_batches(kind, augment, workers):
    data = kind.make(augment, workers)
    cpu, gpu = Ranks(torch.device("cpu")), Ranks(torch.device("cuda", 0))
    for get in (
        lambda ranks: epoch_of(data.train_batches(8, SEED, ranks), EPOCH),
        lambda ranks: data.eval_batches("test", 5, ranks),
    ):
        here, there = collect(get(cpu)), collect(get(gpu))
        assert there[0].is_cuda
        assert torch.equal(there[1].cpu(), here[1])
        torch.testing.assert_close(there[0].cpu(), here[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("augment", ["autoaugment", "augmix"])
def test_evaluation_and_the_fingerprint_do_not_change(kind, augment):
    plain, other = kind.make(), kind.make(augment)
    assert plain.fingerprint == other.fingerprint
    (a, b), (c, d) = (collect(data.eval_batches("test", 8)) for data in (plain, other))
    assert torch.equal(a, c)
    assert torch.equal(b, d)


def test_other_names_are_refused(kind, tmp_path):
    for make, words in (
        (partial(kind.make, "augmx"), ["augment=augmx", "augmix?"]),
        (partial(check_augment, "xyz"), ["augment=xyz", "augmix"]),
        (partial(kind.make, "augmix", workers=-1), ["workers=-1"]),
        # before the files are looked for
        (partial(datasets.cifar100, tmp_path, augment="auto_augment"), ["auto_augment", "autoaugment?"]),
    ):
        with refused(*words):
            make()
