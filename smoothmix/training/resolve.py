"""What `auto` means on the device at hand."""

from dataclasses import replace

import torch

from smoothmix.training.recipe import Settings
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError


def resolve(settings: Settings, ranks: Ranks) -> Settings:
    """Return `settings` without `auto`.

    `precision` becomes bf16 on a GPU that computes in it, fp32 elsewhere; `channels_last` goes with bf16; `step`
    becomes a graph on a single GPU, eager elsewhere. DistributedDataParallel sends gradients from within the backward
    pass, which is not captured here.

    Raises:
        UserError: bf16 on a GPU that has none, or a graph where there is not one GPU.
    """
    on_gpu = ranks.device.type == "cuda"
    has_bf16 = on_gpu and torch.cuda.is_bf16_supported(False)
    if settings.precision == "bf16" and on_gpu and not has_bf16:
        raise UserError(f"precision=bf16, but {torch.cuda.get_device_name()} has no bfloat16; use precision=fp32")
    if settings.step == "graph" and not (on_gpu and ranks.world_size == 1):
        where = f"{ranks.world_size} rank{'s' * (ranks.world_size > 1)} on {ranks.device.type}"
        raise UserError(f"step=graph needs one process and a CUDA device, not {where}; use step=auto")
    precision, channels_last, step = settings.precision, settings.channels_last, settings.step
    if precision == "auto":
        precision = "bf16" if has_bf16 else "fp32"
    if channels_last == "auto":
        channels_last = precision == "bf16"
    if step == "auto":
        step = "graph" if on_gpu and ranks.world_size == 1 else "eager"
    return replace(settings, precision=precision, channels_last=channels_last, step=step)
