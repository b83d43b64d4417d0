"""The train step as a CUDA graph, on a CPU: a recording stands in for the capture."""

import gc
import itertools
import random
import re
import warnings
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from types import SimpleNamespace

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.transforms import v2

import smoothmix
from datasets import class_folders
from models import PyramidNet, timm_model
from models.dropblock import DropBlock
from models.shakedrop import ShakeDrop
from smoothmix import Identity, ManifoldMixup, SmoothMixC
from smoothmix.training import checkpoint, cuda_graph
from smoothmix.training.cuda_graph import Graphed
from smoothmix.training.recipe import Settings
from smoothmix.utils.command import StopSignal
from smoothmix.utils.distributed import Ranks
from tests.training.runs import assert_same_run

CPU = Ranks(torch.device("cpu"))
STRATEGIES = [name for name in smoothmix.__all__ if isinstance(getattr(smoothmix, name), type)]
METHODS = [name for name in STRATEGIES if name != "ManifoldMixup"]

# what a capture does not permit: operations that hand a value to the host, or make a tensor of the host's values
REFUSED = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "aten.equal", "randperm", "is_nonzero", "lift_")


class Recording(TorchDispatchMode):
    """Stands in for a CUDA graph: notes every operation, its very tensors and numbers, and `replay` repeats them."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(name in str(func) for name in REFUSED):
            raise RuntimeError(f"{func}: operation not permitted when stream is capturing")
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, out in self.calls:
            again = func(*args, **kwargs)
            if any(result.alias_info is not None for result in func._schema.returns):
                continue  # a view of a tensor that is repeated, or a change in place
            for kept, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(kept, Tensor):
                    kept.copy_(new)


def recorded(trainer):
    """Return a `capture` for the step of `trainer`; like that of a GPU it leaves everything as it was."""

    def capture(function, generator):
        kept = [*trainer.model.parameters(), *trainer.model.buffers(), trainer.state.totals]
        kept += [buffer for entry in trainer.state.optimizer.state.values() for buffer in entry.values()]
        before = [(tensor, tensor.detach().clone()) for tensor in kept if tensor is not None]
        streams = torch.get_rng_state(), generator.get_state()
        with Recording() as recording:
            function()
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(value)
        torch.set_rng_state(streams[0])
        generator.set_state(streams[1])
        return recording.replay

    return capture


def graphs(capture, warm_up=lambda step: step()):
    """Return a stand-in for CudaGraphs; `warm_up` returns what made the host wait."""
    return SimpleNamespace(capture=capture, warm_up=warm_up)


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """On a CPU, where nobody has to wait, a mask may be looked at before it is applied."""
    blend = import_module("smoothmix.mixing.blend")  # the package has a function of that name
    monkeypatch.setattr(blend, "may_read", lambda images: False, raising=False)


@pytest.fixture
def make(make_trainer, tiny_data, tiny_model):
    """Return a function that makes trainers of three epochs of 5 full batches and a partial one, the last slower."""

    def make(name, mixing=SmoothMixC, *, graphed=False, layer=None, augment="none", data=None, **options):
        generator, model = torch.Generator(), tiny_model()
        if layer is not None:
            model.insert(3, layer())
        mixing = mixing(num_classes=4) if mixing is v2.CutMix else mixing(num_classes=4, generator=generator)
        data = data or tiny_data(augment=augment, workers=0)
        trainer = make_trainer(name, model=model, mixing=mixing, generator=generator, data=data, **options)
        if graphed:
            trainer.launch = Graphed(8, generator, trainer.mixing, graphs(recorded(trainer)))
        return trainer

    return make


@pytest.fixture
def both(make):
    """Return a function that trains eagerly and in graphs, each after `prepare`, and returns the two trainers."""

    def train(mixing=SmoothMixC, prepare=lambda trainer: None, **options):
        runs = [make(name, mixing, graphed=name == "graph", **options) for name in ("eager", "graph")]
        for trainer in runs:
            prepare(trainer)
            trainer.fit()
        return runs

    return train


@pytest.fixture
def dropout_draws_on_the_device(monkeypatch):
    """On the CPU its generator is the host's, and would keep the step from being captured."""
    monkeypatch.setattr(cuda_graph, "host_generators", lambda mixing: ())


CASES = {
    **{name: {"mixing": getattr(smoothmix, name)} for name in METHODS},
    "DropBlock": {"layer": partial(DropBlock, 0.7, 3, "linear")},  # changes with the epoch
    "ShakeDrop": {"layer": partial(ShakeDrop, 0.5)},
    "bf16": {"settings": Settings(precision="bf16")},
    "channels_last": {"settings": Settings(channels_last=True)},
    "three views": {"mixing": Identity, "augment": "augmix"},
}


@pytest.mark.parametrize("case", CASES)
def test_a_replayed_run_is_the_eager_run(both, dropout_draws_on_the_device, case):
    """Draws, learning rate, statistics, momentum, totals and the partial batch, bit for bit."""
    runs = both(**CASES[case])
    assert runs[1].launch.replays
    assert_same_run(*runs)


@pytest.mark.parametrize("stop_at", [2, 4, 6, 9, 11])
def test_a_replayed_run_stopped_at_any_step_resumes_to_the_unbroken_end(
    make, dropout_draws_on_the_device, stop, stop_at
):
    """While it warms up, after the capture, at an epoch's last step, in the second epoch; then another capture."""
    unbroken = make("unbroken")
    unbroken.fit()
    stop(make("stopped", graphed=True), stop_at)
    resumed = make("stopped", graphed=True)
    resumed.fit()
    assert_same_run(unbroken, resumed)
    saved = checkpoint.load(resumed.directory / "last.pt")["optimizer"]["param_groups"][0]["lr"]
    assert float(saved) == pytest.approx(0.005)


def test_a_step_that_draws_on_the_host_stays_eager_and_says_so(both, capsys):
    runs = both(v2.CutMix)
    assert not runs[1].launch.replays
    assert_same_run(*runs)
    assert capsys.readouterr().out.count("draws numbers on the host") == 1


def test_manifold_mixup_has_a_graph_for_each_layer(both, dropout_draws_on_the_device):
    runs = both(partial(ManifoldMixup, stages=["1", "2"]), epochs=6)
    assert runs[1].launch.replays.keys() == {0, 1, 2}
    assert_same_run(*runs)


def test_only_full_batches_are_warmed_up_captured_and_replayed():
    seen, captured, replays = [], [], []

    def capture(function, generator):
        captured.append((function, generator))
        return lambda: replays.append(captured[0][0].args[0].tolist())

    asides = []
    launch = Graphed(2, "a generator", None, graphs(capture, lambda function: (asides.append(1), function())[1]))
    for numbers in ([1, 2], [3], [4, 5], [6, 7], [8, 9], [10], [11, 12]):
        launch(lambda given: seen.append(given.tolist()), None, torch.tensor(numbers))
    assert seen == [[1, 2], [3], [4, 5], [6, 7], [10]]
    assert len(asides) == 3
    assert [generator for _, generator in captured] == ["a generator"]
    assert replays == [[8, 9], [11, 12]]  # the graph's own inputs, into which the later ones were copied


def operations(trainer):
    """Return the names of what a capture of the trainer's step would see."""
    trainer.network = trainer.model
    with StopSignal(CPU) as stop:
        trainer.train_epoch(stop)
    inputs = next(trainer.batches.inputs(1))
    with Recording() as recording:
        trainer.train_step(*inputs)
    names = {str(func) for func, *_ in recording.calls}
    assert {"aten.convolution_backward.default", "aten._fused_sgd_.tensor_lr"} <= names
    return names


@pytest.mark.parametrize("method", METHODS)
def test_the_step_makes_no_host_wait_and_no_tensor_of_host_values(make, method):
    """From the gather of the crops to the optimiser."""
    names = operations(make("run", getattr(smoothmix, method)))
    assert names & {"aten.index.Tensor", "aten.index_select.default"}


@pytest.mark.parametrize("augment", ["none", "autoaugment", "augmix"])
def test_nor_does_the_step_of_images_in_folders(make, class_folder, augment):
    """From the pixels, and AugMix's blends of them, to the optimiser."""
    data = class_folders(class_folder(), image_size=8, resize=8, workers=0, augment=augment)
    assert "aten.addcmul_.default" in operations(make("run", Identity, data=data))  # jitter, lighting, normalisation


@pytest.mark.parametrize("keeps", [random.Random, numpy.random.default_rng, torch.Generator])
def test_a_host_generator_of_the_strategy_is_noticed(make, capsys, keeps):
    class Private(Identity):
        def __call__(self, images, labels):
            if not hasattr(self, "rng"):
                self.rng = keeps()
            scale = torch.rand(1, generator=self.rng).item() if keeps is torch.Generator else self.rng.random()
            return images * (1 + scale), super().__call__(images, labels)[1]

    trainer = make("run", Private, graphed=True)
    trainer.mixing.rng = keeps()
    trainer.fit()
    assert not trainer.launch.replays
    assert capsys.readouterr().out.count("draws numbers on the host") == 1


def test_a_step_that_waits_for_the_gpu_stays_eager_and_says_where(make, dropout_draws_on_the_device, capsys):
    waits = iter(["model.py:7", "", "model.py:7"])  # what libraries do in the first step does not count

    def warm_up(step):
        step()
        return next(waits)

    trainer = make("run")
    trainer.launch = Graphed(8, trainer.state.generator, trainer.mixing, graphs(None, warm_up))
    trainer.fit()
    assert next(waits, None) is None
    assert "(model.py:7)" in capsys.readouterr().out


class Cuda:
    """Stands in for torch.cuda: a stream sees its own work, and that of others as it was when it waited for them."""

    class Stream:
        def __init__(self):
            self.seen = set()

        def wait_stream(self, other):
            self.seen |= other.seen

    class CUDAGraph:
        def __init__(self):
            self.generators = []
            self.register_generator_state = self.generators.append

        def replay(self):
            pass

    def __init__(self, monkeypatch):
        self.main = self.current = self.Stream()
        self.capturing, self.mode = None, "default"
        for name in ("Stream", "CUDAGraph", "stream", "graph", "set_sync_debug_mode"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: self.current)
        monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: self.mode)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "a pool")

    def set_sync_debug_mode(self, mode):
        self.mode = mode

    @contextmanager
    def stream(self, stream):
        self.current, before = stream, self.current
        yield
        self.current = before

    @contextmanager
    def graph(self, graph, pool, stream, capture_error_mode):
        assert (pool, stream.seen >= self.main.seen) == ("a pool", True)
        self.capturing = graph
        yield
        self.capturing = None

    def draw(self, generator):
        if self.capturing and generator not in self.capturing.generators:
            raise RuntimeError("the generator is not registered")


def test_the_gpu_s_streams_and_generators_are_in_order(monkeypatch):
    """The warm-up sees the batch that the main stream made, and the main stream the weights that it changed."""
    cuda, generator = Cuda(monkeypatch), torch.Generator()
    gpu = cuda_graph.CudaGraphs()
    cuda.main.seen.add("a batch")

    def step():
        assert "a batch" in cuda.current.seen
        assert cuda.current is gpu.stream
        cuda.current.seen.add("weights")
        if cuda.mode == "warn":
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)

    assert re.fullmatch(r".*test_cuda_graph\.py:\d+", gpu.warm_up(step))
    assert "weights" in cuda.main.seen
    assert (cuda.current, cuda.mode) == (cuda.main, "default")

    collecting = []
    replay = gpu.capture(lambda: (cuda.draw(generator), collecting.append(gc.isenabled())), generator)
    assert replay.__func__ is Cuda.CUDAGraph.replay
    assert (collecting, gc.isenabled()) == ([False], True)
    with pytest.raises(cuda_graph.CaptureFailed, match="the generator is not registered"):
        gpu.capture(lambda: cuda.draw(torch.Generator()), generator)
    assert gc.isenabled()


def test_fit_again_drops_the_graphs_of_before(make, dropout_draws_on_the_device):
    trainer = make("run", graphed=True)
    trainer.fit()
    assert trainer.launch.replays
    trainer.fit()  # restores tensors of its own; there is nothing left to train
    assert not trainer.launch.replays


class Foreign(nn.Linear):
    pass


@pytest.mark.parametrize(
    ("mixing", "model", "part"),
    [
        (SmoothMixC(num_classes=4), PyramidNet(8, 24, 4, bottleneck=False), ""),
        (SmoothMixC(num_classes=4), timm_model("resnet18", 4), ""),
        (v2.CutMix(num_classes=4), nn.Linear(1, 1), "torchvision.transforms.v2._augment.CutMix"),
        (SmoothMixC(num_classes=4), nn.Sequential(Foreign(1, 1)), "test_cuda_graph.Foreign"),
        (graphs, nn.Linear(1, 1), "test_cuda_graph.graphs"),
    ],
    ids=["ours", "timm", "torchvision", "model", "function"],
)
def test_what_is_not_known_to_be_safe_is_named(mixing, model, part):
    assert cuda_graph.unsafe_part(mixing, model).endswith(part)
    assert bool(cuda_graph.unsafe_part(mixing, model)) == bool(part)


@pytest.mark.parametrize(
    ("errors", "sentence"),
    [
        ([ValueError("the cause"), RuntimeError("capture ended")], "cannot be a CUDA graph (the cause)"),
        ([RuntimeError("alone\nmore")], "cannot be a CUDA graph (alone); use step=eager"),
        ([torch.OutOfMemoryError("CUDA"), RuntimeError("capture ended")], "out of memory while the train step is"),
    ],
)
def test_a_failed_capture_names_its_first_cause(errors, sentence):
    for earlier, later in itertools.pairwise(errors):
        later.__context__ = earlier  # as if raised while the earlier one was handled
    assert sentence in cuda_graph.failure(errors[-1])
