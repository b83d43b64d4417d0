"""Float32 that is float32, whatever surrounds the call."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def full_precision(tf32: bool = False) -> Iterator[None]:
    """Compute in the dtype of the tensors: no autocast, and no bfloat16, nor TF32 unless `tf32`, in float32 products.

    TF32 in convolutions is torch's default on a GPU; the others are on where a caller switched them on. Works as a
    decorator too.
    """
    before, precision = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = tf32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with ExitStack() as stack:
            for device in ("cpu", "cuda", "mps"):
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
        torch.set_float32_matmul_precision(precision)
