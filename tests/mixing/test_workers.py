"""A strategy in a DataLoader's `collate_fn`: each worker and epoch draws its own numbers, reproducibly."""

import copy
import pickle
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

from smoothmix import ManifoldMixup, SmoothMixC
from tests.mixing.strategies import seeded

EPOCHS, WORKERS, BATCHES = 2, 2, 4
DATA = TensorDataset(torch.randn(2 * BATCHES, 3, 8, 8, generator=seeded()), torch.arange(8))


class Mixed:
    """A `collate_fn` that can be pickled."""

    def __init__(self, strategy):
        self.strategy = strategy

    def __call__(self, samples):
        images, targets = self.strategy(*default_collate(samples))
        return images, targets


def weights(seed, loader_seed=0, **options):
    """The label weights of all batches, epoch by epoch: (epochs, batches)."""
    strategy = SmoothMixC(num_classes=8, p=1.0, generator=seeded(seed))
    strategy.draw_partner = Swap()
    loader = DataLoader(
        DATA,
        batch_size=2,
        collate_fn=Mixed(strategy),
        num_workers=WORKERS,
        generator=seeded(loader_seed),
        **options,
    )
    epochs = []
    for _ in range(EPOCHS):
        batches = list(loader)
        for images, targets in batches:  # labels follow pixels, whatever process mixed them
            assert images.shape == (2, 3, 8, 8)
            torch.testing.assert_close(targets.sum(1), torch.ones(2))
        epochs.append(torch.stack([targets.max() for _, targets in batches]))
    return torch.stack(epochs)


class Swap:
    def __call__(self, images):
        return torch.tensor([1, 0])


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_and_epochs_draw_different_masks_and_the_same_again(persistent):
    options = {"multiprocessing_context": "fork", "persistent_workers": persistent}
    found = weights(5, **options)
    assert len(found.unique()) == EPOCHS * BATCHES
    assert torch.equal(weights(5, **options), found)
    for other in (weights(6, **options), weights(5, loader_seed=1, **options)):
        assert len(torch.cat([found, other]).unique()) == 2 * EPOCHS * BATCHES


@pytest.mark.slow
def test_workers_that_are_spawned_draw_what_forked_ones_do():
    found, expected = (weights(5, multiprocessing_context=c, persistent_workers=True) for c in ("spawn", "fork"))
    assert torch.equal(found, expected)


def test_the_generator_is_seeded_once_in_a_worker(monkeypatch):
    strategy = SmoothMixC(num_classes=8, generator=seeded(5))
    own = int(torch.randint(2**62, (), generator=seeded(5)))
    twin = SmoothMixC(num_classes=8, generator=seeded(own ^ 11))
    with monkeypatch.context() as worker:
        worker.setattr("smoothmix.mixing.strategy.get_worker_info", lambda: SimpleNamespace(seed=11))
        found = [strategy(*DATA.tensors) for _ in range(3)]
    for batch in found:
        assert all(map(torch.equal, batch, twin(*DATA.tensors)))


def test_in_the_main_process_the_generator_is_left_as_it_is():
    strategy = SmoothMixC(num_classes=8, generator=seeded(5))
    other = SmoothMixC(num_classes=8, generator=seeded(5))
    images, labels = DATA.tensors
    collated = Mixed(other)(list(zip(images, labels, strict=True)))
    for found, expected in zip(strategy(images, labels), collated, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda strategy: pickle.loads(pickle.dumps(strategy))])
def test_a_copy_draws_on_from_the_same_state(twin):
    strategy = SmoothMixC(num_classes=8, generator=seeded(5))
    strategy(*DATA.tensors)
    other = twin(strategy)
    assert repr(other) == repr(strategy)
    for _ in range(2):
        assert all(map(torch.equal, other(*DATA.tensors), strategy(*DATA.tensors)))


def test_manifold_mixup_has_no_network_there():
    strategy = ManifoldMixup(num_classes=8, stages=["0"])
    strategy.attach(nn.Sequential(nn.Identity()))
    loader = DataLoader(DATA, collate_fn=Mixed(strategy), num_workers=1, multiprocessing_context="fork")
    with pytest.raises(RuntimeError, match=r"ManifoldMixup .* worker"):
        next(iter(loader))
