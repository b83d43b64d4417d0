"""The train step as one CUDA graph: a single launch where a deep network needs thousands of small kernels."""

import random
from collections.abc import Callable
from functools import partial

import numpy
import torch
from torch import Tensor

from smoothmix.errors import UserError

WARM_UP = 3  # eager steps before a capture, as torch's guide to CUDA graphs has it: libraries set themselves up in them


def cuda_graph(function: Callable[[], None], generator: torch.Generator) -> Callable[[], None]:
    """Capture what `function` does on the GPU, which executes nothing, and return what replays it.

    Each replay draws new numbers from torch's own generator and from `generator`, the ones that an eager call would.
    Both may be seeded or restored between replays.

    Raises:
        UserError: `function` reads from the GPU, or does something else that a graph cannot hold.
    """
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    try:
        # thread_local: a loader's thread may pin memory meanwhile
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            function()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the train step cannot be a CUDA graph ({reason}); use step=eager") from error
    return graph.replay


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


def eager(function: Callable[..., None], *inputs: Tensor) -> None:
    """Call `function(*inputs)`."""
    function(*inputs)


class Graphed:
    """Calls `function(*inputs)` as `eager` does, from the fourth full batch on as a graph with inputs of its own.

    The first three full batches are ordinary steps, so that nothing has to be undone before the capture. Batches of
    another length, the last of an epoch, are ordinary steps too.

    A graph repeats what it was captured with, except what lies in tensors: weights, the learning rate, DropBlock's
    share, totals, inputs, the generators of the GPU. Numbers that the host draws would stay the same for ever. If the
    step draws any while it warms up, it is never captured, and a line says so.

    Args:
        batch: the length of a full batch.
        generator: what the function draws from beside torch's own generators.
        capture, aside: how a GPU captures and warms up; others take their place in tests.
    """

    def __init__(
        self,
        batch: int,
        generator: torch.Generator,
        capture: Callable[[Callable[[], None], torch.Generator], Callable[[], None]] = cuda_graph,
        aside: Callable[[Callable[[], None]], None] = on_side_stream,
    ) -> None:
        self.batch, self.generator = batch, generator
        self.capture, self.aside = capture, aside
        self.warm_up_left = WARM_UP
        self.draws_on_host = False
        self.inputs: list[Tensor] = []
        self.replay: Callable[[], None] | None = None

    def __call__(self, function: Callable[..., None], *inputs: Tensor) -> None:
        """Do one step on `inputs`, tensors of one length on the GPU.

        `function` is the same at every call. It reads nothing on the host, and the tensors it changes keep their place.
        """
        if self.draws_on_host or len(inputs[0]) != self.batch:
            function(*inputs)
        elif self.warm_up_left:
            self._warm_up(partial(function, *inputs))
        else:
            if self.replay is None:
                self.inputs = [given.clone() for given in inputs]
                self.replay = self.capture(partial(function, *self.inputs), self.generator)
            for own, given in zip(self.inputs, inputs, strict=True):
                own.copy_(given)
            self.replay()

    def _warm_up(self, step: Callable[[], None]) -> None:
        before = host_generators()
        self.aside(step)
        self.warm_up_left -= 1
        if host_generators() != before:
            self.draws_on_host = True
            print("note: the train step draws numbers on the host, which a CUDA graph would freeze; it runs eagerly")
