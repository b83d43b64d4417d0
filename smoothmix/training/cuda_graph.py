"""The train step as one CUDA graph: a single launch where a deep network needs thousands of small kernels."""

import gc
import random
import warnings
from collections import Counter
from collections.abc import Callable, Hashable
from functools import partial
from types import FunctionType
from typing import Any

import numpy
import torch
from torch import Tensor, nn

WARM_UP = 3  # eager steps before a capture, as torch's guide to CUDA graphs has it: libraries set themselves up in them

# Packages whose operations are known to neither read from the GPU nor draw on the host within a train step. Of the
# strategies only our own are: torchvision's and timm's draw on the host.
SAFE_STRATEGIES = ("smoothmix",)
SAFE_MODULES = ("torch", "torchvision", "timm", "models", "smoothmix")


class CaptureFailed(SystemExit):
    """The GPU refused a capture and cannot be trusted afterwards. A SystemExit: it ends the process and the sweep."""


class CudaGraphs:
    """Warms up and captures steps on a GPU. All graphs share one memory pool and one stream: no two may run at once."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()
        self.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def warm_up(self, step: Callable[[], None]) -> str:
        """Run `step` on the side stream, in order with the rest; return what made the host wait for the GPU, if so."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught, torch.cuda.stream(self.stream):
                warnings.simplefilter("always")
                step()
        finally:
            torch.cuda.set_sync_debug_mode(before)
        current.wait_stream(self.stream)
        waits = [warning for warning in caught if "synchroniz" in str(warning.message)]
        return f"{waits[0].filename}:{waits[0].lineno}" if waits else ""

    def capture(self, step: Callable[[], None], generator: torch.Generator) -> Callable[[], None]:
        """Capture `step` without executing it; return what replays it.

        Each replay draws new numbers from torch's own generator and from `generator`, those that an eager call would
        draw. Both may be seeded or restored between replays.

        Raises:
            CaptureFailed: the step does something that a graph cannot hold, or memory is short.
        """
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        collecting = gc.isenabled()
        gc.disable()  # a tensor freed in the midst of a capture would be freed on the GPU as well
        try:
            # thread_local: a loader's thread may pin memory meanwhile
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
                step()
        except RuntimeError as error:
            raise CaptureFailed(failure(error)) from error
        finally:
            if collecting:
                gc.enable()
        return graph.replay


def failure(error: BaseException) -> str:
    """Return the sentence about a capture that ended in `error`: its first cause, out of memory by its name."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    if any(isinstance(link, torch.OutOfMemoryError) for link in chain):
        return (
            "error: the GPU is out of memory while the train step is captured; use a smaller recipe.batch_size, or "
            "step=eager, which needs less"
        )
    reason = (str(chain[-1]).splitlines() or [type(chain[-1]).__name__])[0]
    return f"error: the train step cannot be a CUDA graph ({reason}); use step=eager"


def unsafe_part(mixing: Any, model: nn.Module) -> str:
    """Return what in the train step is not known to be safe in a CUDA graph: a class by its full name, or nothing."""
    parts = [(mixing, SAFE_STRATEGIES), *((module, SAFE_MODULES) for module in model.modules())]
    for part, packages in parts:
        kind = part if isinstance(part, FunctionType) else type(part)
        if kind.__module__.partition(".")[0] not in packages:
            return f"{kind.__module__}.{kind.__qualname__}"
    return ""


def host_generators(owner: object = None) -> tuple[object, ...]:
    """Return the states of the host's random generators: Python's, NumPy's, torch's, and those that `owner` keeps."""
    _, keys, position, *_ = numpy.random.get_state(legacy=True)
    states = [random.getstate(), numpy.asarray(keys).tobytes(), position, torch.get_rng_state().numpy().tobytes()]
    for value in vars(owner).values() if hasattr(owner, "__dict__") else ():
        if isinstance(value, random.Random):
            states.append(value.getstate())
        elif isinstance(value, numpy.random.Generator):
            states.append(repr(value.bit_generator.state))
        elif isinstance(value, torch.Generator) and value.device.type == "cpu":
            states.append(value.get_state().numpy().tobytes())
    return tuple(states)


class Graphed:
    """Calls `function(*inputs)`, from the fourth full batch on as a graph with inputs of its own.

    The first three full batches are ordinary steps, so that nothing has to be undone before the capture. Batches of
    another length, the last of an epoch, are ordinary steps too. Each variant, as the layer of Manifold Mixup, has its
    three steps and its graph.

    A graph repeats what it was captured with, except what lies in tensors: weights, the learning rate, DropBlock's
    rate, totals, inputs, the generators of the GPU. Numbers that the host draws would stay the same for ever, and a
    read from the GPU cannot be captured. If the step does either while it warms up, it is never captured, and a line
    says so.

    Args:
        batch: the length of a full batch.
        generator: what the function draws from beside torch's own generators.
        mixing: the strategy, whose own host generators are watched.
        graphs: how to warm up and to capture.
    """

    def __init__(self, batch: int, generator: torch.Generator, mixing: object, graphs: Any) -> None:
        self.batch, self.generator, self.mixing, self.graphs = batch, generator, mixing, graphs
        self.clear()

    def clear(self) -> None:
        """Forget all graphs: the tensors they hold are about to be replaced."""
        self.stays_eager = False
        self.warm: Counter[Hashable] = Counter()
        self.inputs: list[Tensor] = []
        self.replays: dict[Hashable, Callable[[], None]] = {}

    def __call__(self, function: Callable[..., None], variant: Hashable, *inputs: Tensor) -> None:
        """Do one step on `inputs`, tensors of one length on the GPU.

        `function` is the same at every call, and for one `variant` it does the same. The tensors it changes keep their
        place.
        """
        if self.stays_eager or len(inputs[0]) != self.batch:
            function(*inputs)
        elif self.warm[variant] < WARM_UP:
            self._warm_up(partial(function, *inputs))
            self.warm[variant] += 1
        else:
            self.inputs = self.inputs or [given.clone() for given in inputs]
            if variant not in self.replays:
                self.replays[variant] = self.graphs.capture(partial(function, *self.inputs), self.generator)
            for own, given in zip(self.inputs, inputs, strict=True):
                own.copy_(given)
            self.replays[variant]()

    def _warm_up(self, step: Callable[[], None]) -> None:
        before = host_generators(self.mixing)
        waited, why = self.graphs.warm_up(step), ""
        if host_generators(self.mixing) != before:
            why = "draws numbers on the host, which a CUDA graph would freeze"
        elif waited and self.warm.total() > 0:  # in the very first step libraries set themselves up
            why = f"reads from the GPU ({waited}), which a CUDA graph cannot hold"
        if why:
            self.stays_eager = True
            print(f"note: the train step {why}; it runs eagerly", flush=True)
