"""Trainers of tiny runs: 46 images, 6 steps per epoch, and ways to stop them."""

import pytest
import torch

from smoothmix import ManifoldMixup, SmoothMixC
from smoothmix.training.recipe import Recipe, Settings
from smoothmix.training.trainer import Trainer
from smoothmix.utils.command import Stopped
from smoothmix.utils.distributed import Ranks

CPU = Ranks(torch.device("cpu"))


@pytest.fixture
def make_trainer(tmp_path, tiny_data, tiny_model):
    """Return a function that makes a trainer in a folder of tmp_path; other keywords than these are the recipe's."""

    def make(name="run", *, data=None, model=None, mixing=None, settings=None, ranks=CPU, generator=None, **recipe):
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        generator, model = generator or torch.Generator(), model or tiny_model()
        if isinstance(mixing, ManifoldMixup):
            mixing.generator = generator
            mixing.attach(model)
        return Trainer(
            model,
            mixing or SmoothMixC(num_classes=4, generator=generator),
            data or tiny_data(),
            Recipe(**({"name": "test", "epochs": 3, "batch_size": 8, "lr": 0.05, "decay_epochs": [2]} | recipe)),
            settings or Settings(),
            directory,
            ranks,
            generator,
            {"who": "test"},
        )

    return make


@pytest.fixture
def stop(monkeypatch):
    """Return a function that trains until the stop flag is looked at for the n-th time, and finds it set then."""

    def fit_until(trainer, number):
        requests = iter(range(1, 10**6))
        with monkeypatch.context() as patch:
            patch.setattr("smoothmix.utils.command.StopSignal.requested", lambda self: next(requests) == number)
            with pytest.raises(Stopped):
                trainer.fit()

    return fit_until
