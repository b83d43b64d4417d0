"""Layers that change as the training goes on."""

from torch import nn


def set_progress(model: nn.Module, fraction: float) -> None:
    """Tell every layer that has a method `set_progress` which fraction of the training, 0 to 1, is done."""
    for module in model.modules():
        listen = getattr(module, "set_progress", None)
        if listen is not None:
            listen(fraction)
