"""DropBlock (Ghiasi et al., "DropBlock: A regularization method for convolutional networks", NeurIPS 2018).

Contiguous blocks of a feature map are set to zero, in each image and each channel independently, and what is left is
scaled up so that the batch keeps its mean. Drawing the seeds and cutting the blocks out are two functions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCHEDULES = ("constant", "linear")


class DropBlock(nn.Module):
    """Drop blocks of a feature map (N, C, H, W) in training; the identity in evaluation.

    Args:
        keep_prob: the share of units that is kept, above 0 and at most 1. With 1 nothing is ever dropped.
        block_size: side of a block in pixels of the feature map, odd or even; at most the map's own side is used.
        schedule: "constant", or "linear": the dropped share grows from 0 to 1 - keep_prob as `set_progress` tells of
            the training's progress (sec. 3.1 of the paper, "Scheduled DropBlock"). Until it is told, it is at its end.

    Raises:
        ValueError: on a value out of range or an unknown schedule.
    """

    drop_rate: Tensor

    def __init__(self, keep_prob: float, block_size: int, schedule: str = "constant") -> None:
        super().__init__()
        if not 0 < keep_prob <= 1:
            raise ValueError(f"keep_prob of DropBlock is {keep_prob}; give a number above 0 and up to 1, such as 0.9.")
        if block_size < 1:
            raise ValueError(f"block_size of DropBlock is {block_size}; give a side in pixels, at least 1.")
        if schedule not in SCHEDULES:
            raise ValueError(f"The schedule of DropBlock is {schedule!r}; choose {' or '.join(SCHEDULES)}.")
        self.keep_prob, self.block_size, self.schedule = keep_prob, block_size, schedule
        # a tensor on the device, so that a captured or compiled step sees the schedule move; no part of checkpoints
        self.register_buffer("drop_rate", torch.tensor(1.0 - keep_prob), persistent=False)

    def set_progress(self, fraction: float) -> None:
        """Take the dropped share of this moment; `fraction` of the training, 0 to 1, is done."""
        if self.schedule == "linear":
            self.drop_rate.fill_(fraction * (1.0 - self.keep_prob))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape, dtype and memory format."""
        if not self.training or self.keep_prob == 1:
            return x
        block = min(self.block_size, *x.shape[2:])
        return drop_blocks(x, draw_seeds(x, self.drop_rate, block), block)

    def extra_repr(self) -> str:
        """Show the settings in the printed network."""
        return f"keep_prob={self.keep_prob}, block_size={self.block_size}, schedule={self.schedule}"


def draw_seeds(x: Tensor, drop_rate: Tensor | float, block_size: int) -> Tensor:
    """Draw the top left corners of the blocks: zeros and ones (N, C, H - block_size + 1, W - block_size + 1).

    Only places where the whole block lies inside the map are drawn, each with probability (Eq. 1 of the paper)

        gamma = drop_rate / block_size^2 * H W / ((H - block_size + 1) (W - block_size + 1)),

    so that about `drop_rate` of the units fall into a block; a little less, because blocks overlap.
    """
    height, width = x.shape[2:]
    seeds = torch.empty_like(x[:, :, block_size - 1 :, block_size - 1 :])
    gamma = drop_rate * (height * width / (block_size**2 * seeds.shape[2] * seeds.shape[3]))
    return seeds.bernoulli_(gamma)


def drop_blocks(x: Tensor, seeds: Tensor, block_size: int) -> Tensor:
    """Zero the blocks whose top left corners are the ones of `seeds`, and divide by the kept share of the batch."""
    # a unit is kept if the window of corners that reach it is empty; rows, then columns: 2 b sums instead of b^2
    windows = F.avg_pool2d(F.pad(seeds, [block_size - 1] * 4), (block_size, 1), stride=1)
    kept = F.avg_pool2d(windows, (1, block_size), stride=1) == 0
    scale = kept.numel() / kept.sum().clamp(min=1)
    return x * kept * scale
