"""NaN and infinity, wherever they come from, end the run with a sentence and reach no checkpoint."""

import json

import pytest
import torch
from torch import nn

from smoothmix import Identity
from smoothmix.training import checkpoint
from smoothmix.training.recipe import Settings
from tests.mistakes import refused


class Poisoned(torch.autograd.Function):
    """The identity, of whose gradient one element is `value`."""

    @staticmethod
    def forward(context, tensor, value):
        context.value = value
        return tensor.clone()

    @staticmethod
    def backward(context, gradient):
        gradient = gradient.clone()
        gradient.view(-1)[0] = context.value
        return gradient, None


class Poison(nn.Module):
    """Hands on what it gets, but from the step `since` on makes an activation or a gradient `value`."""

    def __init__(self, where, value, since):
        super().__init__()
        self.where, self.value, self.since, self.steps = where, value, since, 0

    def forward(self, inputs):
        if not self.training:
            return inputs
        self.steps += 1
        if self.steps < self.since:
            return inputs
        if self.where == "gradient":
            return Poisoned.apply(inputs, self.value)
        return torch.where(torch.arange(inputs.shape[1]) == 0, self.value, inputs)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("where", ["gradient", "activation"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("since", [2, 6, 9])  # in the first epoch, at its last step, in the second
def test_it_ends_the_run_and_reaches_no_checkpoint(make_trainer, tiny_model, precision, where, value, since):
    model = tiny_model()
    model.insert(6, Poison(where, value, since))
    settings = Settings(precision=precision, log_every=1000)
    trainer = make_trainer(model=model, mixing=Identity(num_classes=4), settings=settings)
    # no loss can tell of a gradient in the epoch's last step
    what = "momentum" if (where, since) == ("gradient", 6) else "step"
    with refused(what, "not finite"):
        trainer.fit()
    metrics = trainer.directory / "metrics.jsonl"
    lines = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    assert len(lines) == (since > 6)
    for name in ("last.pt", "best.pt"):
        assert (trainer.directory / name).exists() == (since > 6)
        if since > 6:
            state = checkpoint.load(trainer.directory / name)
            assert all(tensor.isfinite().all() for tensor in state["model"].values())


def test_a_loss_that_is_not_finite_stops_the_run_and_reaches_no_checkpoint(make_trainer):
    trainer = make_trainer(settings=Settings(log_every=2))
    real, steps = trainer.mixing, 0

    def poisoned(images, labels):
        nonlocal steps
        steps += 1
        images, targets = real(images, labels)
        return (images * float("nan") if steps == 8 else images), targets

    trainer.mixing = poisoned
    with refused("loss", "not finite", "step 2 of epoch 2"):
        trainer.fit()
    saved = checkpoint.load(trainer.directory / "last.pt")
    assert saved["epoch"] == 1
    assert all(tensor.isfinite().all() for tensor in saved["model"].values())
