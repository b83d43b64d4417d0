"""Memory that a train step needs, counted on tensors without values: no GPU takes part."""

import argparse

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from scripts.benchmarks.timing import markdown
from scripts.benchmarks.trainers import MODELS
from smoothmix.training.step import Foreach, classification_loss

CASES = (("pyramidnet200", 32), ("pyramidnet200", 64), ("pyramidnet200", 128), ("resnet50", 256))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options: there are none."""
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the table, in GiB."""
    heads = ["weights, gradients, momentum", "kept for the backward pass, fp32", "sum", "kept, bf16", "sum"]
    print(markdown([row(*case) for case in CASES], ["network, batch", *heads]))


def row(model: str, batch: int) -> list[str]:
    """Return a line of the table."""
    side, classes, build = MODELS[model]
    (state, fp32), (_, bf16) = (count(build, batch, side, classes, dtype) for dtype in (None, torch.bfloat16))
    sizes = (state, fp32, state + fp32, bf16, state + bf16)
    return [f"{model}, {batch}", *(f"{size / 2**30:.2f}" for size in sizes)]


def count(build, batch: int, side: int, classes: int, dtype: torch.dtype | None) -> tuple[int, int]:
    """Return the bytes of weights, BatchNorm statistics, gradients and momentum, and of what the forward pass keeps.

    Kept are the batch, the activations that the backward pass reads, and copies of the weights in `dtype`; two tensors
    in one piece of memory count once.

    Args:
        build: returns the network.
        batch, side, classes: number of images, their side, number of labels.
        dtype: of autocast.
    """
    with FakeTensorMode():
        with torch.device("cuda"):
            model: nn.Module = build().train()
            images, targets = torch.empty(batch, 3, side, side), torch.empty(batch, classes)
        weights, buffers = list(model.parameters()), list(model.buffers())
        kept = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage
            return tensor

        # what torch.autocast does where there is a GPU
        torch.set_autocast_dtype("cuda", dtype or torch.float32)
        torch.set_autocast_enabled("cuda", dtype is not None)
        try:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), Foreach(model).forward(dtype):
                logits = model(images)
        finally:
            torch.set_autocast_enabled("cuda", False)
            torch.clear_autocast_cache()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            classification_loss(logits, targets, 1)
        keep(images)
        for tensor in (*weights, *buffers):
            kept.pop(tensor.untyped_storage()._cdata, None)
        state = 3 * sum(weight.nbytes for weight in weights) + sum(buffer.nbytes for buffer in buffers)
        return state, sum(storage.nbytes() for storage in kept.values())
