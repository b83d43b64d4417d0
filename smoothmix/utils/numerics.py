"""The same numbers, whatever surrounds a call: random streams, float32 that is float32, deterministic kernels."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


def derive_seed(*keys: int | str) -> int:
    """Return a seed in [0, 2**63) that is a fixed function of `keys`.

    Streams are named by what they are for, as in ``derive_seed(seed, "order", epoch)``. Different keys give unrelated
    seeds on every machine (BLAKE2b), so nothing has to be stored to draw the same numbers again.
    """
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def full_precision(tf32: bool = False) -> Iterator[None]:
    """Compute in the dtype of the tensors: no autocast, and no bfloat16, nor TF32 unless `tf32`, in float32 products.

    TF32 in convolutions is torch's default on a GPU; the others are on where a caller switched them on. Constants are
    made on the CPU, whatever the default device is. Works as a decorator too.
    """
    before, precision = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = tf32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with ExitStack() as stack:
            for device in ("cpu", "cuda", "mps"):
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            if torch.get_default_device().type != "cpu":
                stack.enter_context(torch.device("cpu"))
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
        torch.set_float32_matmul_precision(precision)


@contextmanager
def numerics(deterministic: bool) -> Iterator[None]:
    """Bit-reproducible kernels, or the fastest ones; put back at the end."""
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.benchmark
    torch.use_deterministic_algorithms(deterministic)
    cudnn.benchmark = not deterministic
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.benchmark = before[1]


@contextmanager
def untuned(really: bool = True) -> Iterator[None]:
    """Take cuDNN's first choice of a kernel, if `really`: a search costs more than it gains for a shape seldom seen."""
    cudnn = torch.backends.cudnn
    before, cudnn.benchmark = cudnn.benchmark, cudnn.benchmark and not really
    try:
        yield
    finally:
        cudnn.benchmark = before
