"""DropBlock in timm's ResNets, at the places where the ResNet code of the DropBlock paper's authors has it."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from models.dropblock import DropBlock


def add_drop_block(network: Any, name: str, keep_probs: Sequence[float], block_size: int, schedule: str) -> None:
    """Put DropBlock into the stages `layer1` to `layer4` of a timm ResNet, whose keep probabilities are `keep_probs`.

    In each block of a stage with a keep probability below 1 it acts after every convolution (with its BatchNorm, and
    its activation if it has one) and on the skip connection, be it the identity or a projection: at four places in a
    bottleneck block, at three in a basic one. Neither weights nor their names change.

    Raises:
        ValueError: the network is not a ResNet of basic or bottleneck blocks; `name` is for this sentence.
    """
    from timm.models.resnet import BasicBlock, Bottleneck, ResNet

    blocks = []
    if isinstance(network, ResNet):
        stages = network.layer1, network.layer2, network.layer3, network.layer4
        blocks = [(block, keep) for stage, keep in zip(stages, keep_probs, strict=True) for block in stage]
    if not blocks or not all(isinstance(block, BasicBlock | Bottleneck) for block, _ in blocks):
        raise ValueError(
            f"drop_block_keep={keep_probs} needs a ResNet of basic or bottleneck blocks, which timm's {name!r} is not; "
            "leave it out, or choose a model such as resnet50."
        )
    for block, keep_prob in blocks:
        if keep_prob < 1:
            _add_to_block(block, [DropBlock(keep_prob, block_size, schedule) for _ in range(4)])


def _add_to_block(block: Any, drops: list[DropBlock]) -> None:
    first, second, last, skip = drops
    if hasattr(block, "conv3"):
        block.act1 = nn.Sequential(block.act1, first)
    # timm's place for it lies before the ReLU, which leaves zeros and scales as they are
    block.drop_block = second
    # timm's place at the end of the residual branch, free because stochastic depth is off
    block.drop_path = last
    block.downsample = nn.Sequential(*(block.downsample or ()), skip)
