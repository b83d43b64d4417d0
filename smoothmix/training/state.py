"""What a run changes while it trains, on one rank."""

import math
import time
from typing import Any

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler

from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError
from smoothmix.utils.numerics import derive_seed


class TrainingState:
    """Weights, momentum, random streams and counters: with them a run resumes to the same bits.

    Attributes:
        model, optimizer, scaler: on the ranks' device; the scaler keeps the loss in the range of fp16.
        generator: what mixing draws from, on the device.
        epoch: epochs that are finished.
        step: steps of the current epoch that are done.
        history: a dict of metrics for each finished epoch.
        select_on: the split whose top-1 error tells the best epoch.
        best: "model", the weights of the best epoch so far, on the CPU, and "metrics", its row; None before the first.
        world_sizes: every number of ranks that finished an epoch, sorted.
        starts: where, when and by which commit the run was started and resumed, see `utils.environment.start`.
        totals: summed loss and number of images of the current epoch, float64 (2,) on the device.
        seconds: of training and evaluation of the current epoch, before the last start of the process.
        training_seconds: of training alone, of the current epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: GradScaler,
        generator: torch.Generator,
        ranks: Ranks,
        select_on: str,
    ) -> None:
        self.model, self.optimizer, self.scaler = model, optimizer, scaler
        self.generator, self.ranks, self.select_on = generator, ranks, select_on
        # SGD would make them in its first step, uninitialised, and a step that fp16 skips never writes them
        for group in optimizer.param_groups:
            for weight in group["params"] if group["momentum"] else ():
                optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        self.epoch = 0
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.world_sizes: list[int] = []
        self.starts: list[dict[str, Any]] = []
        self.totals = torch.zeros(2, dtype=torch.float64, device=ranks.device)
        self.seconds = 0.0
        self.training_seconds = 0.0
        self.started = time.perf_counter()

    def seed_streams(self, seed: int) -> None:
        """Start the epoch's random streams: one for mixing, one (torch's own) for layers such as dropout.

        They depend on (seed, epoch, rank) alone, so a run may resume with another number of ranks at an epoch's start.
        """
        torch.manual_seed(derive_seed(seed, "layers", self.epoch, self.ranks.rank))
        self.generator.manual_seed(derive_seed(seed, "mixing", self.epoch, self.ranks.rank))

    def seconds_of_epoch(self) -> float:
        """Return the seconds of training and evaluation that the current epoch has taken."""
        return self.seconds + time.perf_counter() - self.started

    def end_epoch(self, row: dict[str, Any]) -> None:
        """Append the metrics of the epoch, keep its weights if it is the best so far, and begin the next one."""
        self.history.append(row)
        if best_row(self.history, self.select_on) is row:
            weights = {name: tensor.to("cpu", copy=True) for name, tensor in self.model.state_dict().items()}
            self.best = {"model": weights, "metrics": row}
        self.world_sizes = sorted({*self.world_sizes, self.ranks.world_size})
        self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
        self.totals.zero_()
        self.started = time.perf_counter()

    def mean_loss(self) -> float:
        """Return the mean loss of the epoch so far over all ranks. Waits for the device.

        Raises:
            UserError: it is not finite.
        """
        total, images = self.ranks.sum(self.totals.clone()).tolist()
        mean = float(total / max(images, 1))
        if not math.isfinite(mean):
            self._refuse("the loss")
        return mean

    def check_finite(self) -> None:
        """Raise UserError unless loss, weights, statistics and momentum are finite on all ranks."""
        self.mean_loss()
        state = [*self.model.parameters(), *self.model.buffers()]
        state += [value for entry in self.optimizer.state.values() for value in entry.values() if value is not None]
        floats = [tensor.detach() for tensor in state if torch.is_floating_point(tensor) and tensor.numel()]
        largest = torch.stack(torch._foreach_norm(floats, float("inf")))
        if self.ranks.any(not bool(torch.isfinite(largest).all())):
            self._refuse("a weight, BatchNorm statistic or momentum")

    def _refuse(self, what: str) -> None:
        raise UserError(
            f"{what} is not finite (NaN or infinite) by step {self.step} of epoch {self.epoch + 1}; nothing was saved "
            "from that state: lower recipe.lr or use precision=fp32, and look at the data"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the state of all ranks, tensors and plain values. Every rank has to call it."""
        return {
            "streams": self.ranks.gather(self.streams()),
            "totals": self.ranks.gather(self.totals.cpu()),
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds_of_epoch(),
            "training_seconds": self.training_seconds,
            "history": self.history,
            "world_sizes": self.world_sizes,
            "starts": self.starts,
            "best": self.best,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_dict(self, state: dict[str, Any]) -> None:
        """Take over what `to_dict` returned, but for the weights: these are `checkpoint.load_model`'s to check."""
        momenta = self.optimizer.state_dict()["state"]
        for number, entry in state["optimizer"]["state"].items():  # what the recipe says is set already
            momenta[number]["momentum_buffer"].copy_(entry["momentum_buffer"])
        if state.get("scaler"):  # older checkpoints have none
            self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.history, self.best = state["history"], state["best"]
        self.world_sizes, self.starts = state["world_sizes"], state["starts"]
        self.seconds, self.training_seconds = state["seconds"], state["training_seconds"]
        if self.step:  # otherwise the streams start with the epoch
            self.totals.copy_(state["totals"][self.ranks.rank])
            self.set_streams(state["streams"][self.ranks.rank])

    def streams(self) -> dict[str, torch.Tensor]:
        """Return where this rank's random streams stand."""
        streams = {"cpu": torch.get_rng_state(), "mixing": self.generator.get_state()}
        if self.ranks.device.type == "cuda":
            streams["cuda"] = torch.cuda.get_rng_state(self.ranks.device)
        return streams

    def set_streams(self, streams: dict[str, torch.Tensor]) -> None:
        """Put this rank's random streams where `streams` says."""
        torch.set_rng_state(streams["cpu"])
        self.generator.set_state(streams["mixing"])
        if self.ranks.device.type == "cuda":
            torch.cuda.set_rng_state(streams["cuda"], self.ranks.device)


def best_row(history: list[dict[str, Any]], select_on: str) -> dict[str, Any] | None:
    """Return the metrics of the first epoch with the lowest top-1 error on `select_on`; None if none was evaluated."""
    error = f"{select_on}_top1_error"
    return min((row for row in history if error in row), key=lambda row: row[error], default=None)
