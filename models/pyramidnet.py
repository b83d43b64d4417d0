"""PyramidNet (Han et al., "Deep Pyramidal Residual Networks", CVPR 2017) for small images such as CIFAR's.

Every block is a little wider than the one before it: of N blocks, the i-th has round(16 + i * alpha / N) planes.
The details are those of the CutMix code, whose baseline the SmoothMix paper uses: no ReLU before a block's first
convolution, a BatchNorm after its last, and shortcuts without parameters (average pooling and zero channels).
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.regularisers import choose_regulariser

STEM_PLANES = 16
BOTTLENECK_EXPANSION = 4


class PyramidNet(nn.Module):
    """PyramidNet with additive widening: images (N, 3, H, W) -> logits (N, num_classes).

    Made for 32x32 images; the two strides halve the sides, rounding up, and the head averages what is left.
    `stem`, `layer1`, `layer2` and `layer3` are the places where the hidden state can be hooked.

    Args:
        depth: number of weight layers: 9n + 2 with bottleneck blocks (200, 272), 6n + 2 with basic ones (20, 110).
        alpha: the widening factor, > 0: planes grow from 16 to 16 + alpha over the whole network.
        num_classes: number of classes, at least 1.
        bottleneck: blocks of 1x1, 3x3 and 1x1 convolutions with 4 x planes at their end, instead of two 3x3.
        drop_path_rate: stochastic depth: block l of L loses its residual branch with probability l / L of this.
        drop_block_keep: DropBlock at the end of the residual branches: the keep probability of each of the 3 stages.
        drop_block_size: side of its blocks, in pixels of the feature map.
        drop_block_schedule: "constant", or "linear": from 1 down to the keep probability as the training goes on.
        shake_drop: ShakeDrop: the residual branch of block l of L is disturbed with probability l / L of this.

    The last five choose the regulariser of the residual branches: at most one may be on, and none changes the weights
    or their names.

    Raises:
        ValueError: on a depth that the blocks cannot add up to, on an alpha or num_classes that is not positive, on a
            regulariser's value out of range, or on two regularisers.
    """

    def __init__(
        self,
        depth: int,
        alpha: float,
        num_classes: int,
        bottleneck: bool = True,
        drop_path_rate: float = 0.0,
        drop_block_keep: list[float] | None = None,
        drop_block_size: int = 7,
        drop_block_schedule: str = "constant",
        shake_drop: float = 0.0,
    ) -> None:
        super().__init__()
        blocks_per_stage = _blocks_per_stage(depth, bottleneck)
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha, the widening factor, is {alpha}; give a positive number such as 240.")
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; give the number of classes, at least 1.")

        regulariser_of = choose_regulariser(
            drop_path_rate, drop_block_keep, drop_block_size, drop_block_schedule, shake_drop
        )
        num_blocks = 3 * blocks_per_stage
        widths = block_planes(num_blocks, alpha)
        stem = nn.Conv2d(3, STEM_PLANES, kernel_size=3, padding=1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(STEM_PLANES))

        stages = []
        channels = STEM_PLANES
        for stage in range(3):
            blocks = []
            for i in range(stage * blocks_per_stage, (stage + 1) * blocks_per_stage):
                stride = 2 if stage > 0 and not blocks else 1
                regulariser = regulariser_of(i + 1, num_blocks) if regulariser_of else None
                blocks.append(PyramidBlock(channels, widths[i], stride, bottleneck, regulariser))
                channels = blocks[-1].out_channels
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages

        self.norm = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)
        # Convolutions as in the CutMix code; BatchNorm (1, 0) and the linear layer as torch has them.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, num_classes)."""
        return self.fc(self.forward_features(images).mean(dim=(2, 3)))

    def forward_features(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to what the head averages, (N, channels, H / 4, W / 4); the name is timm's."""
        x = self.stem(images)
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        return F.relu(self.norm(x), inplace=True)


class PyramidBlock(nn.Module):
    """One residual block: x -> zero-padded shortcut(x) + regulariser(residual(x)), with no activation at its end."""

    def __init__(
        self, in_channels: int, planes: int, stride: int, bottleneck: bool, regulariser: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.out_channels = planes * BOTTLENECK_EXPANSION if bottleneck else planes
        self.residual = nn.Sequential(*_residual_layers(in_channels, planes, stride, bottleneck))
        self.regulariser = nn.Identity() if regulariser is None else regulariser
        # ceil_mode: an odd side shrinks as under a 3x3 convolution with stride 2 and padding 1
        self.pool = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        added: Tensor = _AddToFirstChannels.apply(self.regulariser(self.residual(x)), self.pool(x))
        return added


class _AddToFirstChannels(torch.autograd.Function):
    """residual + shortcut with zero channels behind it, in the memory of the residual, which nothing else needs.

    Padding the shortcut first would write and read a tensor of the residual's width twice, for the same sums.
    """

    @staticmethod
    def forward(ctx: Any, residual: Tensor, shortcut: Tensor) -> Tensor:
        ctx.channels = shortcut.shape[1]
        ctx.mark_dirty(residual)
        residual[:, : ctx.channels] += shortcut
        return residual

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        return gradients[0], gradients[0][:, : ctx.channels]


def block_planes(num_blocks: int, alpha: float) -> list[int]:
    """Planes of each block: 16 + alpha / num_blocks and so on, the running sum rounded half to even.

    The sum is kept as a float and added up step by step, as in the CutMix code: `16 + i * step` can round otherwise.
    """
    width, planes = float(STEM_PLANES), []
    for _ in range(num_blocks):
        width += alpha / num_blocks
        planes.append(round(width))
    return planes


def _residual_layers(in_channels: int, planes: int, stride: int, bottleneck: bool) -> Iterator[nn.Module]:
    """BatchNorm before each convolution and after the last one, ReLU before each but the first."""
    convolutions = [(planes, 3, stride), (planes, 3, 1)]  # output channels, kernel size, stride
    if bottleneck:
        convolutions = [(planes, 1, 1), (planes, 3, stride), (planes * BOTTLENECK_EXPANSION, 1, 1)]
    yield nn.BatchNorm2d(in_channels)
    for i, (channels, size, step) in enumerate(convolutions):
        if i > 0:
            yield nn.ReLU(inplace=True)
        yield nn.Conv2d(in_channels, channels, size, step, padding=size // 2, bias=False)
        yield nn.BatchNorm2d(channels)
        in_channels = channels


def _blocks_per_stage(depth: int, bottleneck: bool) -> int:
    """The n of depth = 9n + 2 (bottleneck) or 6n + 2 (basic), or a sentence with the nearest depth that has one."""
    layers, kind = (9, "bottleneck") if bottleneck else (6, "basic")
    n = max(1, round((depth - 2) / layers))
    if depth != layers * n + 2:
        raise ValueError(
            f"A PyramidNet of {kind} blocks has depth {layers}n + 2, which {depth} is not; "
            f"the nearest is {layers * n + 2}."
        )
    return n
