"""No number is read by the host: the condition for a CUDA graph, tested without a GPU as far as that goes."""

from importlib import import_module

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from smoothmix import CutMix, Cutout, HideAndSeek, Identity, LabelSmoothing, ManifoldMixup, Mixup, SmoothMixC
from tests.mixing.strategies import ALL

BLEND = import_module("smoothmix.mixing.blend")  # the package has a function of that name
ALONE = [method(num_classes=4, p=0.5, per_sample=per_sample) for method in ALL for per_sample in (False, True)] + [
    Mixup(num_classes=4, alpha=0.2),
    CutMix(num_classes=4, alpha=0.2),
]


class WithNetwork:
    """Manifold Mixup at a given layer, together with the network whose hidden layers it mixes.

    The layer is drawn from a CPU generator, so reading it makes nobody wait; the dispatch checks below cannot tell
    that read from others when the images are on the CPU too, and find the layer given here.
    """

    def __init__(self, layer, per_sample):
        self.strategy = ManifoldMixup(num_classes=4, p=0.5, per_sample=per_sample, stages=("0", "1"))
        self.network = nn.Sequential(nn.Identity(), nn.Identity())
        self.strategy.attach(self.network)
        if layer is not None:
            self.strategy.draw_layer = lambda: layer
        self.layer, self.per_sample = layer, per_sample

    def __call__(self, images, labels):
        images, targets = self.strategy(images, labels)
        return self.network(images), targets

    def __repr__(self):
        return f"ManifoldMixup(layer={self.layer}, per_sample={self.per_sample})"


STRATEGIES = ALONE + [WithNetwork(layer, per_sample) for layer in (0, 1, 2) for per_sample in (False, True)]


class ReadsTheMask(SmoothMixC):
    """What must not happen, to see that the checks below notice it."""

    def draw_mask(self, images):
        mask = super().draw_mask(images)
        return mask if mask.mean() > 0 else mask + 0


class NoHostReads(TorchDispatchMode):
    """Refuses operations that copy a value to the host or whose output's shape depends on values."""

    REFUSED = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal.default", "randperm", "is_nonzero")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(name in str(func) for name in self.REFUSED):
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """On a CPU, where nobody has to wait, a mask is looked at before it is applied."""
    monkeypatch.setattr(BLEND, "may_read", lambda images: False)


def on_meta():
    return torch.empty(5, 3, 12, 12, device="meta"), torch.empty(5, dtype=torch.long, device="meta")


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_no_operation_reads_values(strategy):
    with NoHostReads():
        strategy(torch.randn(5, 3, 12, 12), torch.arange(5) % 4)


@pytest.mark.parametrize("strategy", [s for s in STRATEGIES if getattr(s, "alpha", 1.0) == 1.0], ids=repr)
def test_runs_on_tensors_of_a_gpu_without_values(strategy):
    """Fake tensors hold no numbers, so that item() and bool() raise, and an operation on two devices raises too.

    torch has no fake version of the gamma draw, which alpha != 1 needs.
    """
    with FakeTensorMode():
        images = torch.empty(5, 3, 12, 12, dtype=torch.bfloat16, device="cuda")
        images, targets = strategy(images, torch.zeros(5, dtype=torch.long, device="cuda"))
    assert (images.shape, images.dtype, targets.shape) == ((5, 3, 12, 12), torch.bfloat16, (5, 4))
    assert images.device.type == targets.device.type == "cuda"


@pytest.mark.parametrize("attempt", range(5))
def test_the_draw_of_the_layer_reads_nothing_on_the_device(attempt):
    """On the meta device the real draw works: it does not touch the images' device."""
    strategy = WithNetwork(None, False)
    images, targets = strategy(*on_meta())
    assert images.device.type == targets.device.type == "meta"


@pytest.mark.usefixtures("as_on_a_gpu")
def test_the_checks_notice_a_read():
    strategy = ReadsTheMask(num_classes=4)
    with NoHostReads(), pytest.raises(AssertionError, match="waits for the device"):
        strategy(torch.randn(5, 3, 12, 12), torch.arange(5) % 4)
    with FakeTensorMode(), pytest.raises(Exception, match=r"_local_scalar_dense|[Dd]ata.dependent"):
        strategy(torch.randn(5, 3, 12, 12), torch.zeros(5, dtype=torch.long))
    with pytest.raises(RuntimeError, match="meta"):
        strategy(*on_meta())


def test_a_mask_is_read_on_a_cpu_only_and_unseen_by_autograd_and_the_compiler():
    may_read = BLEND.may_read
    images = torch.zeros(2, 3, 4, 4)
    assert may_read(images)
    assert not may_read(images.to("meta"))
    assert not may_read(images.requires_grad_())
    assert not torch.compile(lambda x: x + may_read(x), fullgraph=True, backend="eager")(torch.zeros(1)).item()


@pytest.mark.gpu
def test_steps_are_captured_in_cuda_graphs():
    """Replays draw new numbers, and the labels follow the pixels in each."""
    for strategy in STRATEGIES:
        images = torch.eye(4, device="cuda")[:, :, None, None].expand(4, 4, 32, 32).contiguous()
        labels = torch.arange(4, device="cuda")
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            strategy(images, labels)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            mixed, targets = strategy(images, labels)
        seen = []
        for _ in range(30):
            graph.replay()
            seen.append(targets.clone() if isinstance(strategy, LabelSmoothing) else mixed.clone())
            if not isinstance(strategy, (Cutout, HideAndSeek, LabelSmoothing)):
                torch.testing.assert_close(mixed.mean(dim=(2, 3)), targets, atol=1e-5, rtol=0)
        assert isinstance(strategy, Identity) or any(not torch.equal(seen[0], other) for other in seen), strategy
