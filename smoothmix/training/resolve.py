"""What `auto` means on the device at hand."""

from dataclasses import dataclass
from typing import Literal

import torch

from smoothmix.training.recipe import Settings
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError


@dataclass(frozen=True)
class Execution:
    """The settings for which ``auto`` may be given, as they are on the device."""

    precision: Literal["fp32", "bf16"]
    channels_last: bool
    step: Literal["eager", "graph"]


def resolve(settings: Settings, ranks: Ranks) -> Execution:
    """Return what `settings` mean on this device.

    `precision` becomes bf16 on a GPU that computes in it, fp32 elsewhere; `channels_last` goes with bf16; `step`
    becomes a graph on a single GPU, eager elsewhere. DistributedDataParallel sends gradients from within the backward
    pass, which is not captured here.

    Raises:
        UserError: bf16 on a GPU that has none, or a graph where there is not one GPU.
    """
    on_gpu = ranks.device.type == "cuda"
    if settings.precision == "bf16" and on_gpu and not _has_bf16(ranks.device):
        raise UserError(f"precision=bf16, but {torch.cuda.get_device_name()} has no bfloat16; use precision=fp32")
    if settings.step == "graph" and not (on_gpu and ranks.world_size == 1):
        where = f"{ranks.world_size} rank{'s' * (ranks.world_size > 1)} on {ranks.device.type}"
        raise UserError(f"step=graph needs one process and a CUDA device, not {where}; use step=auto")
    graph = settings.step == "graph" or (settings.step == "auto" and on_gpu and ranks.world_size == 1)
    return Execution(
        precision="bf16" if _uses_bf16(settings, ranks.device) else "fp32",
        channels_last=uses_channels_last(settings, ranks.device),
        step="graph" if graph else "eager",
    )


def uses_channels_last(settings: Settings, device: torch.device) -> bool:
    """Return the memory format of images and weights on `device`: true with bf16, unless it is given."""
    if isinstance(settings.channels_last, bool):
        return settings.channels_last
    return _uses_bf16(settings, device)


def _uses_bf16(settings: Settings, device: torch.device) -> bool:
    return settings.precision == "bf16" or (settings.precision == "auto" and _has_bf16(device))


def _has_bf16(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_bf16_supported(False)
