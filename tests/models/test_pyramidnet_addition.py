"""The addition that is done in place is the padded one, with its gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.dropblock import DropBlock
from models.pyramidnet import PyramidBlock
from models.shakedrop import ShakeDrop


class Fixed(nn.Module):
    """A regulariser with the same draws at every call."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        torch.manual_seed(0)
        return self.layer(x)


def padded(block, x):
    shortcut, residual = block.pool(x), block.regulariser(block.residual(x))
    return F.pad(shortcut, (0, 0, 0, 0, 0, residual.shape[1] - shortcut.shape[1])) + residual


def outcome(block, forward, x, weights):
    """Return the output and the gradients of its weighted sum, of the images first."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    out = forward(x)
    return [out.detach().clone(), *torch.autograd.grad((out * weights).sum(), [x, *block.parameters()])]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("layer", [None, ShakeDrop(0.5), DropBlock(0.5, 2)], ids=["none", "shakedrop", "dropblock"])
@pytest.mark.parametrize(
    ("bottleneck", "planes", "stride"), [(True, 5, 1), (True, 3, 2), (False, 12, 1), (False, 13, 2)]
)
def test_outputs_and_gradients_equal_the_padded_addition(bottleneck, planes, stride, layer, memory_format):
    torch.manual_seed(1)
    block = PyramidBlock(12, planes, stride, bottleneck, layer and Fixed(layer)).double()
    block.to(memory_format=memory_format)
    x = torch.randn(3, 12, 8, 8, dtype=torch.float64).to(memory_format=memory_format)
    weights = torch.randn(3, block.out_channels, 8 // stride, 8 // stride, dtype=torch.float64)
    expected = outcome(block, lambda x: padded(block, x), x, weights)
    for ours, theirs in zip(outcome(block, block, x, weights), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_bf16_block_keeps_its_dtype_and_format():
    block = PyramidBlock(12, 5, 1, True).to(memory_format=torch.channels_last)
    x = torch.randn(2, 12, 8, 8).bfloat16().contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        out = block(x)
        torch.testing.assert_close(out, padded(block, x), rtol=0, atol=0)
    assert out.dtype == torch.bfloat16
    assert out.is_contiguous(memory_format=torch.channels_last)
