"""What is trained for how long, and the knobs of a run that are not the recipe."""

import math
from dataclasses import dataclass, field


@dataclass
class Recipe:
    """SGD with momentum and step decay (sec. 4.1.1).

    Epochs are counted from 0: `decay_epochs` are the epochs at whose start the learning rate is multiplied by
    `decay_factor`, so ``[75, 150, 225]`` is "decayed every 75 of 300 epochs". `batch_size` is the global one.
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

    def learning_rate(self, epoch: int) -> float:
        """Return the learning rate of `epoch` (from 0)."""
        decays = sum(epoch >= decay_epoch for decay_epoch in self.decay_epochs)
        return self.lr * self.decay_factor**decays

    def check(self) -> None:
        """Raise ValueError, in one sentence, for a value out of range."""
        _at_least("recipe.epochs", self.epochs, 1)
        _at_least("recipe.batch_size", self.batch_size, 1)
        _positive("recipe.lr", self.lr)
        _positive("recipe.decay_factor", self.decay_factor)
        _at_least("recipe.weight_decay", self.weight_decay, 0)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"recipe.momentum must lie in [0, 1), not {self.momentum}")
        if self.nesterov and self.momentum == 0:
            raise ValueError("recipe.nesterov=true needs a recipe.momentum above 0; set one of the two")
        whole = all(type(epoch) is int for epoch in self.decay_epochs)
        if not whole or sorted({0, *self.decay_epochs})[1:] != self.decay_epochs:
            raise ValueError(f"recipe.decay_epochs must be ascending epochs from 1 on, not {self.decay_epochs}")


@dataclass
class Settings:
    """How a run is executed.

    `precision` is ``fp32`` or ``bf16`` (autocast of the forward pass; weights, BatchNorm statistics and loss stay
    float32, evaluation is always float32). `checkpoint_every` counts steps, 0 meaning at the end of epochs only.
    """

    seed: int = 0
    precision: str = "fp32"
    channels_last: bool = False
    deterministic: bool = False
    checkpoint_every: int = 0
    log_every: int = 50

    def check(self) -> None:
        """Raise ValueError, in one sentence, for a value out of range."""
        _at_least("seed", self.seed, 0)
        _at_least("checkpoint_every", self.checkpoint_every, 0)
        _at_least("log_every", self.log_every, 1)
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision must be fp32 or bf16, not {self.precision!r}")


def _at_least(name: str, value: float, least: float) -> None:
    if not least <= value < 2**63:
        raise ValueError(f"{name} must be a finite number of at least {least}, not {value} (and below 2^63)")


def _positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be a finite number above 0, not {value}")
