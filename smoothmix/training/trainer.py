"""The one trainer: it does not know which method, model or data set is on."""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from smoothmix.evaluation.classification import batch_size, evaluate, full_precision
from smoothmix.mixing.identity import Identity
from smoothmix.training import checkpoint
from smoothmix.training.fallback import holds_best, newest, settle
from smoothmix.training.log import RunLog
from smoothmix.training.losses import classification_loss
from smoothmix.training.progress import set_progress
from smoothmix.training.recipe import Recipe, Settings
from smoothmix.training.resolve import resolve
from smoothmix.training.resumable import check_parts
from smoothmix.training.step import Graphed, eager
from smoothmix.utils.data import ImageDataset
from smoothmix.utils.distributed import Ranks, is_loss
from smoothmix.utils.errors import UserError
from smoothmix.utils.seeding import derive_seed
from smoothmix.utils.signals import StopSignal


@contextmanager
def numerics(deterministic: bool) -> Iterator[None]:
    """Bit-reproducible kernels, or the fastest ones; put back at the end."""
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.benchmark
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    torch.use_deterministic_algorithms(deterministic)
    cudnn.benchmark = not deterministic
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.benchmark = before[1]


class Trainer:
    """Trains `model` on `data` with `mixing`, and can be stopped and started again at any step.

    Args:
        model: maps float images (N, C, H, W) to logits (N, K).
        mixing: maps (images, labels) to (images, targets), targets (N, K) being probabilities.
        data: what it trains on and evaluates.
        recipe, settings: what is trained, and how it is executed.
        directory: where `last.pt`, `best.pt`, `metrics.jsonl` and `tensorboard/` go. It must exist.
        ranks: this process among the others.
        generator: what `mixing` draws from, on the device; its state is part of the checkpoint.
        config: plain values kept in the checkpoints, so that these can be evaluated on their own.
    """

    def __init__(
        self,
        model: nn.Module,
        mixing: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        data: ImageDataset,
        recipe: Recipe,
        settings: Settings,
        directory: Path,
        ranks: Ranks,
        generator: torch.Generator,
        config: dict[str, Any],
    ) -> None:
        if recipe.batch_size % ranks.world_size:
            raise UserError(
                f"recipe.batch_size={recipe.batch_size} cannot be shared evenly by {ranks.world_size} ranks; "
                "it is the global size, so choose a multiple of the number of ranks"
            )
        self.execution = resolve(settings, ranks)
        if data.views > 1 and not isinstance(mixing, Identity):
            raise UserError(
                f"{type(mixing).__name__} would change the {data.views} views of an image that AugMix compares; "
                "use mixing=identity with dataset.augment=augmix"
            )
        self.data, self.mixing, self.recipe, self.settings = data, mixing, recipe, settings
        self.directory, self.ranks, self.generator, self.config = directory, ranks, generator, config
        self.select_on = "val" if "val" in data.sizes else "test"
        self.memory_format = torch.channels_last if self.execution.channels_last else torch.contiguous_format
        self.model = model.to(ranks.device)
        self.model.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            # on the device, where a captured step sees it change
            lr=torch.tensor(recipe.lr, dtype=torch.float32, device=ranks.device),
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.batches = data.train_batches(recipe.batch_size, settings.seed, ranks)
        self.eval_batches = {
            split: data.eval_batches(split, batch_size(ranks.device) * ranks.world_size, ranks)
            for split in sorted(data.sizes.keys() - {"train"})
        }
        if len(self.batches) == 0:
            raise UserError(f"{data.sizes['train']} training images are too few for {ranks.world_size} ranks")
        self.epoch = 0
        self.step = 0  # steps of this epoch that are done
        self.seconds = 0.0  # of training and evaluation of this epoch, before the last start
        self.training_seconds = 0.0  # of training alone
        self.history: list[dict[str, Any]] = []
        self.world_sizes: list[int] = []
        self.totals = torch.zeros(2, dtype=torch.float64, device=ranks.device)  # summed loss, images of this epoch
        self.launch = Graphed(recipe.batch_size, generator) if self.execution.step == "graph" else eager
        self.log = RunLog(directory, recipe.epochs, ranks.is_main)

    # ---------------------------------------------------------------- the run

    def fit(self) -> list[dict[str, Any]]:
        """Train to the last epoch, from the last checkpoint if there is one; return a dict of metrics per epoch.

        Raises:
            UserError: the loss is not finite, or a file cannot be read or written.
            Stopped: SIGTERM or SIGUSR2 came; the state was saved.
        """
        on_gpu = [self.ranks.device] if self.ranks.device.type == "cuda" else []
        with numerics(self.settings.deterministic), full_precision(), torch.random.fork_rng(devices=on_gpu):
            try:
                self.restore()
            except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                if is_loss(error):
                    raise
                path = self.directory / "last.pt"
                raise UserError(f"{path} is not the checkpoint of such a run ({error!r}); move it away") from error
            self.network = self._wrapped()
            self.log.begin(self.history, self._global_step(), in_epoch=self.step > 0)
            try:
                with StopSignal(self.ranks) as stop:
                    while self.epoch < self.recipe.epochs:
                        self.train_epoch(stop)
                        self.finish_epoch(stop)
                    if stop.requested():  # it came during the last save
                        stop.leave(f"all {self.epoch} epochs in {self.directory}")
                if self.ranks.is_main:
                    checkpoint.drop_previous(self.directory)
            finally:
                self.log.close()
        return self.history

    def train_epoch(self, stop: StopSignal) -> None:
        """Do the steps of the epoch that are not done yet."""
        self.started = time.perf_counter()
        if self.step == 0:
            self.seed_streams()
        for group in self.optimizer.param_groups:
            group["lr"].fill_(self.recipe.learning_rate(self.epoch))
        set_progress(self.model, self.epoch / self.recipe.epochs)
        self.network.train()
        self.log.begin_epoch(self.epoch, self.step, len(self.batches))
        plan = getattr(self.mixing, "plan", lambda: None)  # what a strategy decides on the host, ahead of the step
        for inputs in self.batches.inputs(self.epoch, self.step):
            self.launch(self.train_step, plan(), *inputs)
            self.step += 1
            if self.step % self.settings.log_every == 0:
                mean_loss = self.mean_loss()
                self.log.step(self.epoch, self.step, len(self.batches), self._global_step(), mean_loss)
            if self.settings.checkpoint_every and self.step % self.settings.checkpoint_every == 0:
                self.save()
            self.leave_if_asked(stop)
            self.training_seconds = self._seconds_of_epoch()

    def train_step(self, *inputs: Tensor) -> None:
        """Do one step on what the data set's `inputs` yields. The host reads nothing, so a graph can hold it."""
        bf16 = self.execution.precision == "bf16"
        with torch.no_grad():
            images, labels = self.batches.prepare(*inputs)
            images, targets = self.mixing(images, labels)
            images = images.contiguous(memory_format=self.memory_format)
        with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=bf16):
            logits = self.network(images)
        loss = classification_loss(logits, targets, self.data.views)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

        count = len(labels) // self.data.views
        self.totals[0].add_(loss.detach(), alpha=count)
        self.totals[1].add_(count)

    def finish_epoch(self, stop: StopSignal) -> None:
        """Evaluate, and write the epoch down: first the checkpoint, then everything that can be made from it."""
        train_loss = self.mean_loss()
        self.ranks.copy_buffers_from_main(self.model)
        row: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "lr": self.recipe.learning_rate(self.epoch),
            "train_loss": train_loss,
        }
        last = self.epoch + 1 == self.recipe.epochs
        due = last or (self.epoch + 1) % self.settings.evaluate_every == 0
        for split, batches in self.eval_batches.items() if due else ():
            result = evaluate(
                self.model,
                batches,
                self.ranks,
                after_batch=lambda: self.leave_if_asked(stop),
                channels_last=self.execution.channels_last,
            )
            row |= {f"{split}_{name}": value for name, value in result.items() if name != "images"}
        row["seconds"] = self._seconds_of_epoch()
        row["images_per_second"] = self.ranks.sum(self.totals[1:].clone()).item() / self.training_seconds
        self.history.append(row)
        self.world_sizes = sorted({*self.world_sizes, self.ranks.world_size})
        self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
        self.totals.zero_()
        self.started = time.perf_counter()
        self.save()
        self.save_best()
        self.log.end_epoch(self.history, self._global_step())

    # ---------------------------------------------------------------- state

    def seed_streams(self) -> None:
        """Start the epoch's random streams: one for mixing, one (torch's own) for layers such as dropout.

        They depend on (seed, epoch, rank) alone, so a run may go on with another number of ranks at an epoch's start.
        """
        torch.manual_seed(derive_seed(self.settings.seed, "layers", self.epoch, self.ranks.rank))
        self.generator.manual_seed(derive_seed(self.settings.seed, "mixing", self.epoch, self.ranks.rank))

    def save(self) -> None:
        """Write `last.pt`: all that a later process needs to go on as if nothing had happened."""
        self.check_finite()
        self.log.flush()
        streams = {"cpu": torch.get_rng_state(), "mixing": self.generator.get_state()}
        if self.ranks.device.type == "cuda":
            streams["cuda"] = torch.cuda.get_rng_state(self.ranks.device)
        state = {
            "streams": self.ranks.gather(streams),
            "totals": self.ranks.gather(self.totals.cpu()),
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self._seconds_of_epoch(),
            "training_seconds": self.training_seconds,
            "history": self.history,
            "device": self.ranks.device.type,
            "precision": self.execution.precision,
            "world_size": self.ranks.world_size,
            "world_sizes": self.world_sizes,
            "data": self.data.fingerprint,
            "config": self.config,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.ranks.is_main:
            checkpoint.save_atomically(state, self.directory / "last.pt")

    def save_best(self) -> None:
        """Write `best.pt`, weights only, if the epoch just finished is the best so far (the first of equals)."""
        best = best_row(self.history, self.select_on)
        if self.ranks.is_main and best is not None and best["epoch"] == self.epoch:
            state = {"model": self.model.state_dict(), "config": self.config, "metrics": self.history[-1]}
            checkpoint.save_atomically(state, self.directory / "best.pt")

    def restore(self) -> None:
        """Take up the state of `last.pt`, if there is one, or of the checkpoint before it if that one is damaged."""
        path = self.directory / "last.pt"
        found = newest(path)
        position = None if found is None else (found[0]["epoch"], found[0]["step"])
        if any(other != position for other in self.ranks.gather(position)):
            raise UserError(f"the ranks see different checkpoints in {self.directory}; run again once they agree")
        if found is None:
            return
        state, note = found
        if note and self.ranks.is_main:
            print(f"note: {note}", flush=True)
            settle(path)
        check_parts(state, path, self.recipe.epochs, len(self.batches), self.select_on)
        if state["data"] != self.data.fingerprint:
            raise UserError(
                f"{self.directory} was trained on other images (fingerprint {state['data']}, now "
                f"{self.data.fingerprint}); give this data set another dataset.name or output"
            )
        then = f"{state['world_size']} ranks on {state['device']}"
        now = f"{self.ranks.world_size} ranks on {self.ranks.device.type}"
        if state["step"] and then != now:
            raise UserError(
                f"{path} was saved in the middle of epoch {state['epoch'] + 1} by {then}, and now there are {now}; "
                "another number or device can go on only from an epoch's end"
            )
        precision = state.get("precision", self.execution.precision)
        if precision != self.execution.precision:
            raise UserError(
                f"{path} was trained in {precision}, and precision=auto means {self.execution.precision} on "
                f"{self.ranks.device.type}; go on where it began, or start anew with precision={precision}"
            )
        checkpoint.load_model(self.model, state["model"], path)
        # the momentum only: what the recipe says is set already
        own = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["optimizer"]["state"], "param_groups": own})
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.training_seconds = state["training_seconds"]
        self.history, self.world_sizes = state["history"], state["world_sizes"]
        if self.step:  # otherwise the streams start with the epoch
            self.totals.copy_(state["totals"][self.ranks.rank])
            streams = state["streams"][self.ranks.rank]
            torch.set_rng_state(streams["cpu"])
            self.generator.set_state(streams["mixing"])
            if self.ranks.device.type == "cuda":
                torch.cuda.set_rng_state(streams["cuda"], self.ranks.device)
        if self.ranks.is_main:
            self.repair_best()

    def repair_best(self) -> None:
        """Make `best.pt` agree with the history: the process may have ended before it was written, or lost an epoch.

        Raises:
            UserError: the weights of the best epoch are lost.
        """
        path = self.directory / "best.pt"
        best = best_row(self.history, self.select_on)
        if best is None or holds_best(path, best):
            return
        if self.step or best["epoch"] != self.epoch:
            raise UserError(
                f"{path} is damaged or missing, and the weights of epoch {best['epoch']}, the best, are nowhere else; "
                f"restore a copy, or delete {self.directory} to train again"
            )
        self.save_best()

    def leave_if_asked(self, stop: StopSignal) -> None:
        """Save and leave if a signal came on any rank."""
        if stop.requested():
            self.save()
            self.log.close_bar()
            stop.leave(f"epoch {self.epoch + 1}, step {self.step} of {len(self.batches)}, in {self.directory}")

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
        """Raise UserError unless loss, weights, statistics and momentum are finite."""
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

    def _wrapped(self) -> nn.Module:
        if self.ranks.world_size == 1:
            return self.model
        devices = [self.ranks.device.index] if self.ranks.device.type == "cuda" else None
        # Of three terms the order matters to the last bit, and DistributedDataParallel orders its sums anew after the
        # first step of a process, unless it looks for unused parameters: then a run that goes on adds as before.
        same_bits = self.ranks.world_size > 2 and (self.ranks.device.type == "cpu" or self.settings.deterministic)
        network: nn.Module = DistributedDataParallel(
            self.model,
            device_ids=devices,
            broadcast_buffers=False,  # statistics matter at evaluation only, so they are copied then
            gradient_as_bucket_view=True,
            find_unused_parameters=same_bits,
        )
        return network

    def _global_step(self) -> int:
        return self.epoch * len(self.batches) + self.step

    def _seconds_of_epoch(self) -> float:
        return self.seconds + time.perf_counter() - self.started


def best_row(history: list[dict[str, Any]], select_on: str) -> dict[str, Any] | None:
    """Return the metrics of the first epoch with the lowest top-1 error on `select_on`; None if none was evaluated."""
    error = f"{select_on}_top1_error"
    return min((row for row in history if error in row), key=lambda row: row[error], default=None)
