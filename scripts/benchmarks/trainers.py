"""Trainers on made-up images, to be timed."""

from collections.abc import Callable
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from datasets.in_memory import InMemoryData
from models import PyramidNet, timm_model
from smoothmix import SmoothMixC
from smoothmix.training.recipe import Recipe, Settings
from smoothmix.training.trainer import Trainer
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.numerics import full_precision


class Model(NamedTuple):
    """A network, the side of its images in pixels, and the number of its classes."""

    side: int
    classes: int
    build: Callable[[], nn.Module]


MODELS = {
    "pyramidnet200": Model(32, 100, lambda: PyramidNet(200, 240, 100)),
    "pyramidnet20": Model(32, 100, lambda: PyramidNet(20, 24, 100, bottleneck=False)),
    "pyramidnet8": Model(32, 100, lambda: PyramidNet(8, 24, 100, bottleneck=False)),
    "resnet50": Model(224, 1000, lambda: timm_model("resnet50", 1000, zero_init_last=False)),
    "trivial": Model(32, 100, lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 100))),
}


def made_up(images: int, side: int, classes: int) -> InMemoryData:
    """Return random uint8 images of `side` pixels in the place of a data set on the device; they test on 50."""
    draw = np.random.default_rng(0)
    parts = [
        (draw.integers(0, 256, (n, side, side, 3), dtype=np.uint8), draw.integers(0, classes, n)) for n in (images, 50)
    ]
    return InMemoryData(*parts, [str(label) for label in range(classes)], (0.5,) * 3, (0.25,) * 3)


def trainer_of(model: str, batch: int, images: int, ranks: Ranks, directory, epochs: int = 1, **settings) -> Trainer:
    """Return a trainer of SmoothMix_C, always initialised alike; `batch` is over all ranks."""
    side, classes, build = MODELS[model]
    torch.manual_seed(0)
    generator = torch.Generator(ranks.device)
    recipe = Recipe(name="benchmark", epochs=epochs, batch_size=batch, lr=0.01)
    strategy = SmoothMixC(num_classes=classes, generator=generator)
    data = made_up(images, side, classes)
    trainer = Trainer(build(), strategy, data, recipe, Settings(**settings), directory, ranks, generator, {})
    trainer.network = trainer.model.train()
    trainer.state.seed_streams(trainer.settings.seed)
    return trainer


def step_of(trainer: Trainer, after: Callable[[], Any] = lambda: None) -> Callable[[], None]:
    """Return a function that does the trainer's next step, crops and flips included; the epoch begins again.

    `after` is called at its end.
    """
    batches = cycle(list(trainer.batches.inputs(0)))

    def step() -> None:
        with full_precision(trainer.execution.precision == "tf32"):
            trainer.launch(trainer.train_step, None, *next(batches))
            after()

    return step
