"""Manifold Mixup: Mixup of the images or of a hidden layer, drawn anew for each batch."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import get_worker_info
from torch.utils.hooks import RemovableHandle

from smoothmix.mixing.blend import blend, label_weight, mix_pair, mix_targets
from smoothmix.mixing.mixup import Mixup


class _Permuted(torch.autograd.Function):
    """``x[partner]`` for a permutation, so that the gradient is a gather as well, not a sum into zeros."""

    @staticmethod
    def forward(x: Tensor, partner: Tensor) -> Tensor:
        return x[partner]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (partner,) = ctx.saved_tensors
        return gradients[0][partner.argsort()], None


class Pending(NamedTuple):
    """A mix that waits for the forward pass: which stage's output, with which partners, in which proportion."""

    stage: str
    partner: Tensor  # (N,)
    mask: Tensor  # (N or 1, 1, 1, 1)


@dataclass(kw_only=True, eq=False)
class ManifoldMixup(Mixup):
    """Manifold Mixup (Verma et al., 2019): Mixup at a layer drawn uniformly for each batch, the image or a stage.

    It belongs to one network::

        mix = ManifoldMixup(num_classes=100, stages=("stem", "layer1", "layer2", "layer3"))
        mix.attach(model)

    A call draws layer, weight and partners. At layer 0 it mixes the images, exactly as `Mixup` does; otherwise it
    returns them as they are with mixed targets, and the next forward pass in training mode mixes the output of that
    stage. So run the network once on every batch that comes out of here, in the process of the training loop.
    Evaluation mode is left alone. Gradient checkpointing of a stage, or of anything around it, would repeat the forward
    pass without the mix and is refused in the backward pass; that of blocks inside a stage works.

    The layer is drawn on the host, from torch's default CPU generator, so nothing waits for the device. A CUDA graph
    holds one layer only, so `plan` draws the layer ahead of a call, to choose the graph by. At a stage the weight is
    rounded to eight bits, which bfloat16 and float32 hold alike, so the weight of a label is the share of its
    activations in either precision.

    Args:
        num_classes, p, per_sample, alpha, generator: see `Mixup`.
        stages: names of the network's modules whose outputs may be mixed, as in `named_modules()`; each must return a
            tensor (N, ...). The default is PyramidNet's; a ResNet of timm has ("bn1", "layer1", "layer2", "layer3").

    Raises:
        ValueError: `stages` that are not different names, and what `Mixup` raises.
    """

    stages: Sequence[str] = ("stem", "layer1", "layer2", "layer3")

    def __post_init__(self) -> None:
        super().__post_init__()
        stages = self.stages
        names = isinstance(stages, Sequence) and not isinstance(stages, str) and all(isinstance(s, str) for s in stages)
        if not names or not stages or len(set(stages)) < len(stages):
            raise ValueError(f"stages is {stages!r}: pass different names of the network's modules, at least one.")
        self.stages = tuple(stages)
        self._hooks: list[RemovableHandle] = []
        self._pending: Pending | None = None
        self._planned: int | None = None

    def attach(self, model: nn.Module) -> None:
        """Hook the stages of `model`, the network itself if it will be wrapped for several processes.

        Hooks that an earlier call left on this or another network are taken off first.

        Raises:
            ValueError: the model has no module of that name.
        """
        modules = {name: module for name, module in model.named_modules() if name}
        for stage in self.stages:
            if stage not in modules:
                nearest = difflib.get_close_matches(stage, modules, n=3) or [
                    name for name in modules if "." not in name
                ]
                raise ValueError(f"the model has no module {stage!r}: choose stages such as {', '.join(nearest)}.")
        for hook in self._hooks:
            hook.remove()
        self._pending = self._planned = None
        self._hooks = [modules[stage].register_forward_hook(partial(self._mix, stage)) for stage in self.stages]

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mix the images, or have the next forward pass mix a stage's output; see `Strategy.__call__`.

        Raises:
            RuntimeError: no network is attached, it did not run on the last batch, or this is a worker of a
                `DataLoader`, which has no network.
        """
        if get_worker_info() is not None:
            raise RuntimeError("ManifoldMixup mixes inside the network: call it in the training loop, not in a worker.")
        if not self._hooks:
            raise RuntimeError("ManifoldMixup is not attached to a network: call attach(model) first.")
        if self._pending is not None:
            stage, self._pending = self._pending.stage, None
            raise RuntimeError(
                f"the last batch was to be mixed at {stage!r}, but did not pass through it in training mode: run the "
                "attached network once on every mixed batch."
            )
        targets = self.targets(images, labels)
        layer = self.draw_layer() if self._planned is None else self._planned
        self._planned = None
        mask = self.draw_mask(images)
        partner = self.draw_partner(images)
        if layer == 0:
            return blend(images, targets, partner, mask)
        mask = mask.bfloat16().float()
        self._pending = Pending(self.stages[layer - 1], partner, mask)
        return images, mix_targets(targets, partner, label_weight(mask))

    def plan(self) -> int:
        """Draw the layer of the next call ahead of it, and return it: one for each call whose step may be a graph."""
        self._planned = self.draw_layer()
        return self._planned

    def draw_layer(self) -> int:
        """Draw where to mix: 0 is the image, i the output of the i-th stage."""
        return int(torch.randint(1 + len(self.stages), (), device="cpu"))

    def _mix(self, stage: str, module: nn.Module, args: Any, output: Any) -> Tensor | None:
        """The forward hook of a stage: return what replaces its output, or None to leave it."""
        if module.training and _in_backward():
            raise RuntimeError(
                f"gradient checkpointing runs {stage!r} again in the backward pass, where ManifoldMixup cannot repeat "
                "its mix: checkpoint the blocks inside the stages only, or nothing."
            )
        pending = self._pending
        if pending is None or pending.stage != stage or not module.training:
            return None
        self._pending = None
        if not isinstance(output, Tensor) or len(output) != len(pending.partner):
            found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"type {type(output).__name__}"
            raise ValueError(
                f"the output of {stage!r} has {found} for a batch of {len(pending.partner)}: choose stages that return "
                "one tensor (N, ...)."
            )
        mask = pending.mask.view(-1, *[1] * (output.ndim - 1))
        others: Tensor = _Permuted.apply(output, pending.partner)  # type: ignore[no-untyped-call]
        return mix_pair(output, others, mask.to(output.dtype))


def _in_backward() -> bool:
    """Whether this forward pass is a part of a backward pass, as when gradient checkpointing recomputes it."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
