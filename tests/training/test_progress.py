"""Layers that change as the training goes on."""

from torch import nn


class Listener(nn.Module):
    def __init__(self):
        super().__init__()
        self.heard = []

    def set_progress(self, fraction):
        self.heard.append(fraction)

    def forward(self, x):
        return x


def test_the_trainer_tells_the_share_of_the_epochs_that_is_done(make_trainer, tiny_model):
    listener = Listener()
    make_trainer(model=nn.Sequential(listener, tiny_model()), epochs=4).fit()
    assert listener.heard == [0, 0.25, 0.5, 0.75]
