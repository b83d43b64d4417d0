"""Gradients of all ranks averaged after the backward pass, where a CUDA graph can hold it."""

import torch
from torch import Tensor, nn

from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError


class FlatGradients:
    """The gradients of `model` in one buffer: one all-reduce averages them.

    DistributedDataParallel averages in buckets from within the backward pass, which computes meanwhile. The numbers are
    the same: for two ranks to the bit, for more up to the order in which each number is summed over the ranks. The
    weights of rank 0 become those of all ranks.
    """

    def __init__(self, model: nn.Module, ranks: Ranks) -> None:
        self.ranks = ranks
        self.weights: dict[str, Tensor] = {
            name: weight for name, weight in model.named_parameters() if weight.requires_grad
        }
        weights = list(self.weights.values())
        self.buffer = torch.empty(sum(weight.numel() for weight in weights), device=ranks.device)
        parts = torch.split(self.buffer, [weight.numel() for weight in weights])
        # in the memory format of the weight, as the optimiser wants it
        self.parts = [part.as_strided(w.shape, w.stride()) for part, w in zip(parts, weights, strict=True)]
        with torch.no_grad():
            torch._foreach_copy_(self.parts, weights)
            ranks.copy_from_main([self.buffer])
            torch._foreach_copy_(weights, self.parts)

    @torch.no_grad()
    def average(self) -> None:
        """Overwrite the gradient of each weight with its mean over the ranks.

        Raises:
            UserError: a weight has none.
        """
        missing = [name for name, weight in self.weights.items() if weight.grad is None]
        if missing:
            raise UserError(
                f"step=graph on several ranks needs gradients of all weights, and {missing[0]} has none; use step=eager"
            )
        torch._foreach_copy_(self.parts, [weight.grad for weight in self.weights.values()])  # type: ignore[misc]
        self.buffer.mul_(1 / self.ranks.world_size)  # before the sum, as DistributedDataParallel does
        self.ranks.sum(self.buffer)
        for weight, part in zip(self.weights.values(), self.parts, strict=True):
            weight.grad = part
