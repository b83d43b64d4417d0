"""The recipe of a run, and how it is executed."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal, cast

import torch

from smoothmix.mixing.identity import Identity
from smoothmix.utils.data import ImageDataset
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError


@dataclass
class Recipe:
    """SGD with momentum and step decay (sec. 4.1.1).

    Epochs are counted from 0: `decay_epochs` are the epochs at whose start the learning rate is multiplied by
    `decay_factor`, so ``[75, 150, 225]`` is "decayed every 75 of 300 epochs". `batch_size` is the global one. It and
    `epochs` may both be 0 until `fitted`.
    """

    name: str
    epochs: int
    batch_size: int
    lr: float
    decay_epochs: list[int] = field(default_factory=list)
    decay_factor: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 1e-4

    def fitted(self, images: int) -> "Recipe":
        """Return the recipe for so many training images, with `epochs` and `batch_size` chosen by them if both are 0.

        A batch is the largest power of 2 within a 16th of them, 8 to 64; the epochs are those of
        about 1,000 steps, but 10 to 60, and the learning rate decays after half and three quarters of them. Not tuned.
        """
        if self.epochs or self.batch_size:
            return self
        batch_size = min(max(8, 2 ** (images // 16).bit_length() // 2), 64)
        epochs = min(max(10, round(1000 * batch_size / images)), 60)
        return replace(self, batch_size=batch_size, epochs=epochs, decay_epochs=[epochs // 2, epochs * 3 // 4])

    def learning_rate(self, epoch: int) -> float:
        """Return the learning rate of `epoch` (from 0)."""
        decays = sum(epoch >= decay_epoch for decay_epoch in self.decay_epochs)
        return self.lr * self.decay_factor**decays

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        if self.epochs or self.batch_size:
            _at_least("recipe.epochs", self.epochs, 1)
            _at_least("recipe.batch_size", self.batch_size, 1)
        _positive("recipe.lr", self.lr)
        _positive("recipe.decay_factor", self.decay_factor)
        _at_least("recipe.weight_decay", self.weight_decay, 0)
        if not 0 <= self.momentum < 1:
            raise UserError(f"recipe.momentum must lie in [0, 1), not {self.momentum}")
        if self.nesterov and self.momentum == 0:
            raise UserError("recipe.nesterov=true needs a recipe.momentum above 0; set one of the two")
        whole = all(type(epoch) is int for epoch in self.decay_epochs)
        if not whole or sorted({0, *self.decay_epochs})[1:] != self.decay_epochs:
            raise UserError(f"recipe.decay_epochs must be ascending epochs from 1 on, not {self.decay_epochs}")


TRACKERS = ("none", "wandb", "trackio")  # experiment trackers beside TensorBoard
VOLTA, AMPERE = (7, 0), (8, 0)  # compute capabilities from which on there are tensor cores, and TF32


@dataclass(frozen=True)
class Execution:
    """The settings for which ``auto`` may be given, as they are on the device."""

    precision: Literal["fp32", "tf32", "bf16", "fp16"]
    channels_last: bool
    step: Literal["eager", "graph"]


@dataclass
class Settings:
    """How a run is executed.

    `precision` is ``fp32``, ``tf32`` (float32 whose products a GPU rounds to 10 bits of mantissa), ``bf16`` or ``fp16``
    (autocast of the forward pass, for fp16 with a scaled loss; weights, BatchNorm statistics and loss stay float32).
    Evaluation is always float32. `channels_last` is the memory format of images and weights, `step` ``eager`` or
    ``graph`` (one CUDA graph). Each may be ``auto``, see `on`. `checkpoint_every` counts steps, 0 meaning at the end of
    epochs only; `evaluate_every` counts epochs, the last being always evaluated. `log_images_every` counts steps
    between pictures of a mixed batch, 0 meaning the first batch only; `logger` is one of `TRACKERS`.
    """

    seed: int = 0
    precision: str = "auto"
    channels_last: bool | str = "auto"
    step: str = "auto"
    deterministic: bool = False
    evaluate_every: int = 1
    checkpoint_every: int = 0
    log_every: int = 50
    log_images_every: int = 0
    logger: str = "none"

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        _at_least("seed", self.seed, 0)
        _at_least("evaluate_every", self.evaluate_every, 1)
        _at_least("checkpoint_every", self.checkpoint_every, 0)
        _at_least("log_every", self.log_every, 1)
        _at_least("log_images_every", self.log_images_every, 0)
        check_choice("logger", self.logger, TRACKERS)
        check_choice("precision", self.precision, ("auto", "fp32", "tf32", "bf16", "fp16"))
        check_choice("step", self.step, ("auto", "eager", "graph"))
        if self.channels_last not in (True, False, "auto"):
            raise UserError(f"channels_last must be true, false or auto, not {self.channels_last!r}")

    def on(self, ranks: Ranks) -> Execution:
        """Return what the settings mean on the ranks' device.

        `precision` becomes bf16 on a GPU that computes in it, fp16 on an older one with tensor cores (V100, T4), fp32
        elsewhere; `channels_last` goes with bf16 and fp16; `step` becomes a graph on a single GPU, eager elsewhere.

        Raises:
            UserError: bf16 or tf32 on a device that has none, or a graph without a GPU or on several.
        """
        on_gpu = ranks.device.type == "cuda"
        if self.precision == "bf16" and on_gpu and not _has_bf16(ranks.device):
            raise UserError(f"precision=bf16, but {torch.cuda.get_device_name()} has no bfloat16; use precision=fp16")
        if self.precision == "tf32" and not (on_gpu and torch.cuda.get_device_capability(ranks.device) >= AMPERE):
            raise UserError("precision=tf32 needs an NVIDIA GPU of compute capability 8.0 or newer; use precision=fp32")
        if self.step == "graph" and not on_gpu:
            raise UserError(f"step=graph needs a CUDA device, not {ranks.device.type}; use step=auto")
        if self.step == "graph" and ranks.world_size > 1:
            raise UserError(f"step=graph runs on one GPU, not on {ranks.world_size} ranks; use step=eager or auto")
        graph = self.step == "graph" or (self.step == "auto" and on_gpu and ranks.world_size == 1)
        return Execution(
            precision=self._precision(ranks.device),
            channels_last=self.uses_channels_last(ranks.device),
            step="graph" if graph else "eager",
        )

    def uses_channels_last(self, device: torch.device) -> bool:
        """Return whether images and weights are channels-last on `device`: with bf16 and fp16, unless it is given."""
        if isinstance(self.channels_last, bool):
            return self.channels_last
        return self._precision(device) in ("bf16", "fp16")

    def _precision(self, device: torch.device) -> Literal["fp32", "tf32", "bf16", "fp16"]:
        if self.precision != "auto":
            return cast("Literal['fp32', 'tf32', 'bf16', 'fp16']", self.precision)
        if _has_bf16(device):
            return "bf16"
        volta_or_newer = device.type == "cuda" and torch.cuda.get_device_capability(device) >= VOLTA
        return "fp16" if volta_or_newer else "fp32"


def check_fit(recipe: Recipe, data: ImageDataset, mixing: object, ranks: Ranks) -> None:
    """Raise UserError unless the parts of a run fit together."""
    if recipe.batch_size % ranks.world_size:
        raise UserError(
            f"recipe.batch_size={recipe.batch_size} cannot be shared evenly by {ranks.world_size} ranks; "
            "it is the global size, so choose a multiple of the number of ranks"
        )
    if 0 < data.sizes.get("train", 0) < ranks.world_size:
        raise UserError(f"{data.sizes['train']} training images are too few for {ranks.world_size} ranks; use fewer")
    if data.views > 1 and not isinstance(mixing, Identity):
        raise UserError(
            f"{type(mixing).__name__} would change the {data.views} views of an image that AugMix compares; "
            "use mixing=identity with dataset.augment=augmix"
        )


def _has_bf16(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_bf16_supported(False)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise UserError unless `value`, of the option `name`, is one of the `choices`."""
    if value not in choices:
        raise UserError(f"{name} must be {', '.join(choices[:-1])} or {choices[-1]}, not {value!r}")


def _at_least(name: str, value: float, least: float) -> None:
    if not least <= value < 2**63:
        raise UserError(f"{name} must be a finite number of at least {least}, not {value} (and below 2^63)")


def _positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise UserError(f"{name} must be a finite number above 0, not {value}")
