"""NaN and infinity, wherever they come from, end the run with a sentence and reach no checkpoint."""

import json

import pytest
import torch
from torch import nn

from smoothmix import Identity
from smoothmix.training import checkpoint
from smoothmix.training.recipe import Recipe, Settings
from smoothmix.training.trainer import Trainer
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError


class Poisoned(torch.autograd.Function):
    """The identity, whose gradient is `value`."""

    @staticmethod
    def forward(context, tensor, value):
        context.value = value
        return tensor.clone()

    @staticmethod
    def backward(context, gradient):
        return torch.full_like(gradient, context.value), None


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
def test_it_ends_the_run_and_reaches_no_checkpoint(tmp_path, tiny_data, tiny_model, precision, where, value, since):
    model = tiny_model()
    model.insert(6, Poison(where, value, since))
    trainer = Trainer(
        model, Identity(num_classes=4), tiny_data(), Recipe(name="test", epochs=3, batch_size=8, lr=0.05),
        Settings(precision=precision, log_every=1000), tmp_path, Ranks(torch.device("cpu")), torch.Generator(), {},
    )  # fmt: skip
    with pytest.raises(UserError, match=r"is not finite \(NaN or infinite\) by step \d of epoch"):
        trainer.fit()
    metrics = tmp_path / "metrics.jsonl"
    lines = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    assert len(lines) == (since > 6)
    for name in ("last.pt", "best.pt"):
        assert (tmp_path / name).exists() == (since > 6)
        if since > 6:
            state = checkpoint.load(tmp_path / name)
            assert all(tensor.isfinite().all() for tensor in state["model"].values())
