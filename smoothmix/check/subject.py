"""The operation under test: how it is built, seeded and called, and the images that make its work visible."""

import inspect
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from smoothmix.utils.errors import UserError

Operation = Callable[[Tensor, Tensor], Any]
STANDARD = ("num_classes", "p", "per_sample", "generator")

EXAMPLE = """
    def make(*, num_classes, p=1.0, per_sample=False, generator=None):
        def operation(images, labels):  # (N, C, H, W) and (N,)
            mixed, label_a, label_b, weight = yours(images, labels)
            a, b = (torch.nn.functional.one_hot(label, num_classes) for label in (label_a, label_b))
            return mixed, weight * a + (1 - weight) * b  # (N, C, H, W) and (N, num_classes)
        return operation

Leave out of make() the arguments that your operation does not have."""


class Broken(Exception):
    """A law does not hold; the message is the evidence."""


class Refused(Broken):
    """The operation cannot mix a batch."""


class DoesNotApply(Exception):
    """A law says nothing about the operation; the message is the reason."""


class Subject:
    """What is checked: `make`, the arguments that it takes, and the mean own share that its author expects.

    Raises:
        UserError: `make` has another signature, or its operation cannot mix an ordinary batch.
    """

    def __init__(self, make: Callable[..., Operation], share: float | None = None) -> None:
        self.make = make
        self.share = share
        try:
            parameters = inspect.signature(make).parameters.values()
        except (TypeError, ValueError):
            raise _misfit(f"{name_of(make)} has no signature to read: pass a function make()") from None
        self._open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        named = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.defaults = {parameter.name: parameter.default for parameter in parameters if parameter.kind in named}
        required = [name for name, default in self.defaults.items() if default is inspect.Parameter.empty]
        unknown = [name for name in required if name not in STANDARD]
        if unknown or not self.takes("num_classes"):
            wrong = f"needs {', '.join(unknown)}" if unknown else "does not take num_classes"
            raise _misfit(
                f"{name_of(make)} {wrong}: pass a function make() that is called with those of the keywords "
                f"{', '.join(STANDARD)} that it has, and returns the operation"
            )
        try:
            self.mix(one_hot_channels(4, 32, 32), torch.arange(4))
        except Refused as error:
            raise _misfit(f"the operation cannot mix an ordinary batch: {error}") from error
        except Exception as error:
            raise _misfit(f"make() fails with {short(error)}") from error

    def takes(self, name: str) -> bool:
        """Return whether make() has this argument."""
        return self._open or name in self.defaults

    def modes(self) -> tuple[bool, ...]:
        """Return the values of per_sample to check."""
        return (False, True) if self.takes("per_sample") else (False,)

    def build(self, seed: int, *, num_classes: int, p: float = 1.0, per_sample: bool = False, **more: Any) -> Operation:
        """Return a new operation whose own generator, and all global ones, start from `seed`."""
        seed_everything(seed)
        generator = torch.Generator().manual_seed(seed)
        standard = {"num_classes": num_classes, "p": p, "per_sample": per_sample, "generator": generator}
        return self.make(**{name: value for name, value in standard.items() if self.takes(name)} | more)

    def mix(self, images: Tensor, labels: Tensor, seed: int = 0, **arguments: Any) -> tuple[Tensor, Tensor]:
        """Return what a new operation makes of a batch, see :func:`call`; by default there is one class per image."""
        operation = self.build(seed, **{"num_classes": len(images)} | arguments)
        named = [f"{name}={value}" for name, value in arguments.items()]
        return call(operation, images, labels, ", ".join([*named, f"seed {seed}"]))


def _misfit(sentence: str) -> UserError:
    error = UserError(f"{sentence}. Wrap your operation, for example:")
    error.add_note(EXAMPLE)
    return error


def call(operation: Operation, images: Tensor, labels: Tensor, context: str = "") -> tuple[Tensor, Tensor]:
    """Return the operation's images and targets; it gets copies, which it may modify.

    Raises:
        Refused: it raises, whatever it raises, or returns something else; names the batch.
    """
    batch = f"on images {describe(images)} and labels {describe(labels)}{', ' * bool(context)}{context}"
    try:
        result = operation(images.clone(), labels.clone())
    except Exception as error:
        raise Refused(f"{short(error)} ({batch})") from error
    if not isinstance(result, tuple | list) or len(result) != 2 or not all(isinstance(x, Tensor) for x in result):
        raise Refused(f"returned {describe(result)}, not (images, targets) ({batch})")
    sides = labels.shape[1:] if labels.ndim == 3 else ()  # of label maps
    fits = result[1].ndim > 1 and (len(result[1]), *result[1].shape[2:]) == (len(images), *sides)
    if result[0].shape != images.shape or not fits:
        raise Refused(f"returned images {describe(result[0])} and targets {describe(result[1])} ({batch})")
    return result[0], result[1]


def are_equal(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> bool:
    """Return whether two lists of images and targets are the same, to the bit."""
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(one, other, strict=True))


def one_hot_channels(n: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return n images in which image i is 1 in channel i and 0 elsewhere.

    After mixing, channel j of image i is the share of image j at every pixel.
    """
    return torch.eye(n)[:, :, None, None].expand(n, n, height, width).to(dtype).contiguous()


def random_images(n: int, height: int, width: int) -> Tensor:
    """Return normal images (n, 3, height, width)."""
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(0))


def seed_everything(seed: int) -> None:
    """Seed torch's, Python's and, where it is in use, NumPy's global generators."""
    torch.manual_seed(seed)
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed)


@contextmanager
def global_generators_kept() -> Iterator[None]:
    """Leave torch's, Python's and NumPy's global generators as they were."""
    numpy = sys.modules.get("numpy")
    python_state, numpy_state = random.getstate(), numpy.random.get_state() if numpy else None
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python_state)
        if numpy:
            numpy.random.set_state(numpy_state)


def short(error: Exception) -> str:
    """Return an exception's type and the start of its message, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 200 else text[:200] + '...'}"


def name_of(make: Any) -> str:
    """Return what to call an operation in a report."""
    make = getattr(make, "func", make)  # of a functools.partial
    return getattr(make, "__qualname__", None) or repr(make)


def describe(value: Any) -> str:
    """Return the shape and dtype of a tensor, or the types of what is no tensor."""
    if isinstance(value, Tensor):
        layout = "" if value.is_contiguous() else ", not contiguous"
        if layout and value.ndim == 4 and value.is_contiguous(memory_format=torch.channels_last):
            layout = ", channels_last"
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}{layout}"
    if isinstance(value, tuple | list):
        return f"{len(value)} values ({', '.join(describe(x) for x in value)})"
    return type(value).__name__
