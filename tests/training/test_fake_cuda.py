"""Forward and loss on CUDA tensors without values: no host read, no copy from the host, no operation across devices.

FakeTensorMode gives shapes, types and devices and no numbers, so `.item()` and `bool()` raise, and so does an operation
on tensors of two devices. What it lets pass is watched here: copies between host and GPU.
"""

from contextlib import contextmanager
from functools import partial
from importlib import import_module

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import smoothmix
from models import PyramidNet, timm_model
from smoothmix import ManifoldMixup
from smoothmix.training.step import classification_loss

STRATEGIES = [name for name in smoothmix.__all__ if isinstance(getattr(smoothmix, name), type)]
NETWORKS = {
    "pyramidnet": lambda **regulariser: PyramidNet(11, 12, 10, bottleneck=True, **regulariser),
    "resnet18": lambda: timm_model("resnet18", 10),
    "mobilenetv3": lambda: timm_model("mobilenetv3_small_050", 10),
    "densenet": lambda: timm_model("densenet121", 10, block_config=(1, 1)),
}
CUDA = torch.device("cuda", 0)


class NoCopies(TorchDispatchMode):
    """Raises AssertionError where an operation on the GPU takes or makes a tensor of the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
        devices = {tensor.device.type for tensor in tensors}
        # numbers wrapped as zero-dimensional tensors go to the GPU as arguments of its kernels
        hosted = [x for x in tensors if x.device.type == "cpu" and (x.ndim or "copy" in str(func))]
        assert not ("cuda" in devices and hosted), f"{func} has tensors on {devices}"
        return out


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """On a CPU, where nobody has to wait, a mask may be looked at before it is applied."""
    monkeypatch.setattr(import_module("smoothmix.mixing.blend"), "may_read", lambda images: False)


def forward_and_loss(strategy, network, views=1, dtype=torch.bfloat16):
    """Mix, run the network under autocast, take the loss, all on fake tensors of cuda:0; return the loss."""
    with FakeTensorMode():
        with CUDA:
            model = network().train()
        images = torch.empty(6 * views, 3, 32, 32, device=CUDA)
        labels = torch.empty(6 * views, dtype=torch.long, device=CUDA)
        if isinstance(strategy, ManifoldMixup):
            strategy.attach(model)
            with unset_fake_temporarily():
                strategy.plan()  # on the host, ahead of the step
        with NoCopies():
            mixed, targets = strategy(images, labels)
            with autocast(dtype):
                logits = model(mixed)
            return classification_loss(logits, targets, views)


@contextmanager
def autocast(dtype):
    """What `torch.autocast` does on a GPU; where there is none it warns and leaves it off."""
    torch.set_autocast_dtype("cuda", dtype)
    torch.set_autocast_enabled("cuda", True)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.clear_autocast_cache()


def assert_on_the_gpu(loss):
    assert (loss.device, loss.shape, loss.dtype) == (CUDA, (), torch.float32)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy(name, per_sample):
    kind = getattr(smoothmix, name)
    options = {} if name == "Identity" else {"per_sample": per_sample}
    assert_on_the_gpu(forward_and_loss(kind(num_classes=10, **options), NETWORKS["pyramidnet"]))


@pytest.mark.parametrize(
    "regulariser",
    [{"drop_path_rate": 0.5}, {"drop_block_keep": [1.0, 0.9, 0.9], "drop_block_size": 3}, {"shake_drop": 0.5}],
)
def test_every_regulariser(regulariser):
    network = partial(NETWORKS["pyramidnet"], **regulariser)
    assert_on_the_gpu(forward_and_loss(smoothmix.SmoothMixC(num_classes=10), network))


@pytest.mark.parametrize("network", ["resnet18", "mobilenetv3", "densenet"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_networks_of_timm(network, dtype):
    assert_on_the_gpu(forward_and_loss(smoothmix.SmoothMixC(num_classes=10), NETWORKS[network], dtype=dtype))


def test_the_consistency_loss_of_three_views():
    assert_on_the_gpu(forward_and_loss(smoothmix.Identity(num_classes=10), NETWORKS["pyramidnet"], views=3))


class Reads(nn.Linear):
    def forward(self, images):
        return super().forward(images.flatten(1) * images.mean().item())


class Carries(nn.Linear):
    def forward(self, images):
        return super().forward(images.flatten(1) + torch.ones(3072).to(images.device))


class Mixes(nn.Linear):
    def forward(self, images):
        return super().forward(images.flatten(1) + torch.ones(3072))


@pytest.mark.parametrize("network", [Reads, Carries, Mixes])
def test_what_does_not_belong_in_a_step_is_noticed(network):
    with pytest.raises(Exception, match=r"_local_scalar_dense|has tensors on|two different devices"):
        forward_and_loss(smoothmix.Identity(num_classes=10), lambda: network(3072, 10))
