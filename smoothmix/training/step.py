"""The train step as one CUDA graph: a single launch where a deep network needs thousands of small kernels."""

import random
from collections import Counter
from collections.abc import Callable, Hashable
from functools import partial

import numpy
import torch
from torch import Tensor

from smoothmix.utils.errors import UserError

WARM_UP = 3  # eager steps before a capture, as torch's guide to CUDA graphs has it: libraries set themselves up in them


Capture = Callable[[Callable[[], None], torch.Generator], Callable[[], None]]


def cuda_graphs() -> Capture:
    """Return a function that captures what another does on the GPU, executing nothing, and returns what replays it.

    Each replay draws new numbers from torch's own generator and from the one given, those that an eager call would
    draw. Both may be seeded or restored between replays. All graphs share their memory, so no two may run at once.

    Raises (the function):
        UserError: what is captured reads from the GPU, or does something else that a graph cannot hold.
    """
    pool = torch.cuda.graph_pool_handle()

    def capture(function: Callable[[], None], generator: torch.Generator) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        try:
            # thread_local: a loader's thread may pin memory meanwhile
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                function()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"the train step cannot be a CUDA graph ({reason}); use step=eager") from error
        return graph.replay

    return capture


def on_side_stream(function: Callable[[], None]) -> None:
    """Run `function` on a stream of its own, in order with what the GPU was given before and will be given after."""
    current, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(current)
    with torch.cuda.stream(side):
        function()
    current.wait_stream(side)


def host_generators() -> tuple[object, ...]:
    """Return the states of the host's random generators: Python's, NumPy's and torch's."""
    _, keys, position, *_ = numpy.random.get_state(legacy=True)
    return random.getstate(), numpy.asarray(keys).tobytes(), position, torch.get_rng_state().numpy().tobytes()


def eager(function: Callable[..., None], variant: Hashable, *inputs: Tensor) -> None:
    """Call `function(*inputs)`."""
    function(*inputs)


class Graphed:
    """Calls `function(*inputs)` as `eager` does, from the fourth full batch on as a graph with inputs of its own.

    The first three full batches are ordinary steps, so that nothing has to be undone before the capture. Batches of
    another length, the last of an epoch, are ordinary steps too. Each variant, as the layer of Manifold Mixup, has its
    three steps and its graph.

    A graph repeats what it was captured with, except what lies in tensors: weights, the learning rate, DropBlock's
    share, totals, inputs, the generators of the GPU. Numbers that the host draws would stay the same for ever. If the
    step draws any while it warms up, it is never captured, and a line says so.

    Args:
        batch: the length of a full batch.
        generator: what the function draws from beside torch's own generators.
        capture, aside: how to capture and to warm up, a GPU's way if `capture` is None; others are for tests.
    """

    def __init__(
        self,
        batch: int,
        generator: torch.Generator,
        capture: Capture | None = None,
        aside: Callable[[Callable[[], None]], None] = on_side_stream,
    ) -> None:
        self.batch, self.generator = batch, generator
        self.capture, self.aside = capture or cuda_graphs(), aside
        self.draws_on_host = False
        self.warm: Counter[Hashable] = Counter()
        self.inputs: list[Tensor] = []
        self.replays: dict[Hashable, Callable[[], None]] = {}

    def __call__(self, function: Callable[..., None], variant: Hashable, *inputs: Tensor) -> None:
        """Do one step on `inputs`, tensors of one length on the GPU.

        `function` is the same at every call, and for one `variant` it does the same. It reads nothing on the host, and
        the tensors it changes keep their place.
        """
        if self.draws_on_host or len(inputs[0]) != self.batch:
            function(*inputs)
        elif self.warm[variant] < WARM_UP:
            self._warm_up(partial(function, *inputs))
            self.warm[variant] += 1
        else:
            self.inputs = self.inputs or [given.clone() for given in inputs]
            if variant not in self.replays:
                self.replays[variant] = self.capture(partial(function, *self.inputs), self.generator)
            for own, given in zip(self.inputs, inputs, strict=True):
                own.copy_(given)
            self.replays[variant]()

    def _warm_up(self, step: Callable[[], None]) -> None:
        before = host_generators()
        self.aside(step)
        if host_generators() != before:
            self.draws_on_host = True
            print("note: the train step draws numbers on the host, which a CUDA graph would freeze; it runs eagerly")
