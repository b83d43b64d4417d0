"""What two runs have in common."""

import json

import torch

from smoothmix.training import checkpoint

TIMES = {"seconds", "images_per_second"}


def without_times(history):
    return [{key: value for key, value in row.items() if key not in TIMES} for row in history]


def weights_of(trainer):
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


def assert_same_run(one, other):
    """Weights, statistics, momentum, metrics and both checkpoint files, bit for bit."""
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name
    momenta = [[entry["momentum_buffer"] for entry in run.state.optimizer.state.values()] for run in (one, other)]
    assert all(map(torch.equal, *momenta))
    assert without_times(one.state.history) == without_times(other.state.history)
    for file in ("last.pt", "best.pt"):
        ours, theirs = (checkpoint.load(trainer.directory / file)["model"] for trainer in (one, other))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    lines = [(run.directory / "metrics.jsonl").read_text().splitlines() for run in (one, other)]
    assert without_times(map(json.loads, lines[0])) == without_times(map(json.loads, lines[1]))


def state_of(output):
    """Return of the run below a folder what must not depend on its history: all tensors, and the metrics of epochs."""
    (path,) = output.rglob("last.pt")
    state = torch.load(path, weights_only=True)
    momenta = [entry["momentum_buffer"] for entry in state["optimizer"]["state"].values()]
    return [*state["model"].values(), *momenta], without_times(state["history"])
