"""Layers that change as the training goes on."""

import pytest
from torch import nn

from models import PyramidNet
from models.dropblock import DropBlock
from smoothmix import Identity
from smoothmix.training.trainer import set_progress


class Listener(nn.Module):
    def __init__(self):
        super().__init__()
        self.heard = []

    def set_progress(self, fraction):
        self.heard.append(fraction)

    def forward(self, x):
        return x


def test_every_listening_layer_is_told_and_the_others_are_left_alone():
    model = nn.Sequential(nn.ReLU(), nn.Sequential(Listener(), nn.Dropout()), Listener())
    set_progress(model, 0.25)
    assert model[1][0].heard == model[2].heard == [0.25]


def test_the_trainer_tells_the_share_of_the_epochs_that_is_done(make_trainer, tiny_model):
    listener = Listener()
    make_trainer(model=nn.Sequential(listener, tiny_model()), epochs=4).fit()
    assert listener.heard == [0, 0.25, 0.5, 0.75]


def test_a_scheduled_dropblock_follows_the_trainer(make_trainer, monkeypatch):
    options = {"drop_block_keep": [1.0, 1.0, 0.6], "drop_block_size": 2, "drop_block_schedule": "linear"}
    model = PyramidNet(8, alpha=6, num_classes=4, bottleneck=False, **options)
    (layer,) = [module for module in model.modules() if isinstance(module, DropBlock)]
    trainer, rates = make_trainer(model=model, mixing=Identity(num_classes=4), epochs=4, batch_size=16), []
    step = trainer.state.optimizer.step
    monkeypatch.setattr(trainer.state.optimizer, "step", lambda *a: (rates.append(layer.drop_rate.item()), step(*a))[1])
    trainer.fit()
    assert rates == pytest.approx([0] * 3 + [0.1] * 3 + [0.2] * 3 + [0.3] * 3)
