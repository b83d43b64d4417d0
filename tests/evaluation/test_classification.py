import math
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, top_k_accuracy_score
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from datasets.in_memory import InMemoryData
from smoothmix.evaluation.classification import evaluate, score
from smoothmix.utils.distributed import ONE_RANK
from tests.batches import Listed


@given(st.integers(1, 12), st.integers(2, 9), st.integers(0, 10_000))
def test_what_is_kept_of_an_image_is_that_of_a_loop(n, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator)
    labels = torch.randint(classes, (n,), generator=generator)
    _, found, probabilities, losses, briers = score(logits, labels)
    for i, (row, label) in enumerate(zip(logits.double(), labels.tolist(), strict=True)):
        every = (row.exp() / row.exp().sum()).tolist()
        order = sorted(range(classes), key=lambda k: -every[k])[:5]
        assert found[i].tolist() == order
        assert probabilities[i].tolist() == pytest.approx([every[k] for k in order], rel=1e-4)
        assert losses[i] == pytest.approx(-math.log(every[label]), rel=1e-4)
        assert briers[i] == pytest.approx(sum((p - (k == label)) ** 2 for k, p in enumerate(every)), rel=1e-4)


class Once(nn.Module):
    """Logits that are right for even labels only; remembers how it was called."""

    def __init__(self):
        super().__init__()
        self.modes, self.autocast = [], []

    def forward(self, images):
        self.modes.append(self.training)
        self.autocast.append(torch.is_autocast_enabled("cpu"))
        label = images[:, 0, 0, 0].long()
        return nn.functional.one_hot((label - label % 2), 10).float()


def test_the_surroundings_of_an_evaluation_change_nothing(surroundings):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 20))
    batches = Listed((torch.randn(50, 3, 8, 8), torch.arange(50) % 20) for _ in range(3))
    expected = evaluate(model, batches, ONE_RANK)
    with surroundings():
        found = evaluate(model, batches, ONE_RANK)
    assert found.pop("loss") == pytest.approx(expected.pop("loss"), rel=1e-6)  # threads add in an order of their own
    assert found == expected


def test_batches_of_any_size_are_weighted_by_their_images():
    labels = torch.arange(10)
    images = labels.float()[:, None, None, None].expand(-1, 3, 2, 2)
    batches = Listed(zip(images.split([1, 7, 2]), labels.split([1, 7, 2]), strict=True))
    model = Once().train()
    calls = []
    result = evaluate(model, batches, ONE_RANK, after_batch=lambda: calls.append(1))
    assert (result["images"], result["top1_error"]) == (10, 50.0)
    assert len(calls) == 3
    assert model.modes == [False] * 3
    assert not any(model.autocast)
    assert model.training


def test_evaluation_changes_nothing():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 6)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, Listed([(torch.randn(5, 3, 8, 8), torch.arange(5))]), ONE_RANK)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_means_are_those_of_scikit_learn():
    torch.manual_seed(0)
    labels = torch.arange(60) % 6
    images = torch.randn(60, 3, 8, 8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 6))
    found = evaluate(model, Listed(zip(images.split(7), labels.split(7), strict=True)), ONE_RANK)
    probabilities = model(images).detach().double().softmax(1).numpy()
    assert found["loss"] == pytest.approx(log_loss(labels, probabilities), rel=1e-6)
    assert found["brier"] == pytest.approx(
        brier_score_loss(labels, probabilities, scale_by_half=False, labels=range(6)), rel=1e-6
    )
    assert found["top1_error"] == pytest.approx(100 - 100 * top_k_accuracy_score(labels, probabilities, k=1))
    assert found["top5_error"] == pytest.approx(100 - 100 * top_k_accuracy_score(labels, probabilities, k=5))


class NoHostReads(TorchDispatchMode):
    """Refuses what a host would wait for on a GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(name in str(func) for name in ("item.", "nonzero", "_local_scalar_dense", "masked_select", "equal.")):
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


class Reads(Once):
    def forward(self, images):
        return super().forward(images) * float(images.numel() > images.sum())


@pytest.mark.parametrize("model", [Once(), Reads()])
def test_the_loop_reads_nothing_from_the_device(model):
    images = torch.zeros(7, 8, 8, 3, dtype=torch.uint8)
    train, test = (images, torch.zeros(7)), (images, torch.arange(7))
    data = InMemoryData(train, test, [str(k) for k in range(10)], (0,) * 3, (1,) * 3)
    with NoHostReads(), pytest.raises(AssertionError) if isinstance(model, Reads) else nullcontext():
        # the error rates themselves are read by tolist, after the loop
        assert evaluate(model, data.eval_batches("test", 3), ONE_RANK)["images"] == 7
