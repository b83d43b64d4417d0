"""ShakeDrop (Yamada et al., "ShakeDrop Regularization for Deep Residual Learning", IEEE Access 2019)."""

from typing import Any

import torch
from torch import Tensor, nn


class ShakeDrop(nn.Module):
    """Disturb the residual branch of a block in training; scale it by its expectation in evaluation.

    One coin b is tossed for the batch, with P(b = 0) = drop_prob, and for each image alpha ~ U(-1, 1) and
    beta ~ U(0, 1) are drawn. The branch is multiplied by b + alpha - b alpha, its gradient by b + beta - b beta:
    nothing happens where b = 1, and where b = 0 the branch is scaled by alpha and its gradient by beta. In evaluation
    the branch is multiplied by E[b + alpha - b alpha] = 1 - drop_prob.

    The draws are made on the device by torch's default generator, and the host never waits for them.

    Args:
        drop_prob: probability of the disturbance, at least 0 and below 1.

    Raises:
        ValueError: on a probability out of range.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        if not 0 <= drop_prob < 1:
            raise ValueError(f"drop_prob of ShakeDrop is {drop_prob}; give a number of at least 0 and below 1.")
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """Map the residual branch (N, ...) to the same shape and dtype."""
        if not self.training:
            return x * (1 - self.drop_prob)
        return shake(x, *draw_scales(x, self.drop_prob))

    def extra_repr(self) -> str:
        """Show the settings in the printed network."""
        return f"drop_prob={self.drop_prob:.4f}"


def draw_scales(x: Tensor, drop_prob: float) -> tuple[Tensor, Tensor]:
    """Draw the factors of the images (N,) and of their gradients: b + alpha - b alpha and b + beta - b beta."""
    undisturbed = torch.rand((), device=x.device) >= drop_prob  # b, for the whole batch
    alpha = torch.rand(len(x), device=x.device) * 2 - 1
    beta = torch.rand(len(x), device=x.device)
    return torch.where(undisturbed, 1.0, alpha), torch.where(undisturbed, 1.0, beta)


def shake(x: Tensor, forward_scale: Tensor, backward_scale: Tensor) -> Tensor:
    """Multiply each image of x (N, ...) by its `forward_scale` (N,), and its gradient by its `backward_scale` (N,)."""
    shape = len(x), *(1,) * (x.ndim - 1)
    scaled: Tensor = _Shake.apply(x, forward_scale.to(x.dtype).view(shape), backward_scale.to(x.dtype).view(shape))
    return scaled


class _Shake(torch.autograd.Function):
    """x * forward_scale, whose gradient is that of x * backward_scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forward_scale: Tensor, backward_scale: Tensor) -> Tensor:
        ctx.save_for_backward(backward_scale)
        return x * forward_scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (backward_scale,) = ctx.saved_tensors
        return gradients[0] * backward_scale, None, None
