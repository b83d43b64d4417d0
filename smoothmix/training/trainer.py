"""The one trainer: it does not know which method, model or data set is on."""

import time
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.parallel import DistributedDataParallel

from smoothmix.evaluation.classes import class_facts
from smoothmix.evaluation.classification import batch_size, evaluate
from smoothmix.training.checkpoint import Checkpoints
from smoothmix.training.cuda_graph import CudaGraphs, Graphed, unsafe_part
from smoothmix.training.log import RunLog, Tracker
from smoothmix.training.recipe import Recipe, Settings, check_fit
from smoothmix.training.state import TrainingState, best_row
from smoothmix.training.step import Pace, classification_loss
from smoothmix.utils.command import StopSignal, WaitInterrupted
from smoothmix.utils.data import ImageDataset
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.environment import device_name, start
from smoothmix.utils.numerics import full_precision, numerics, untuned
from smoothmix.utils.pictures import describe, grid
from smoothmix.utils.records import RunRecord

PICTURED = 8  # images of the batch
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}  # of autocast


class Trainer:
    """Trains `model` on `data` with `mixing`; a run that was stopped at any step resumes there.

    Args:
        model: maps float images (N, C, H, W) to logits (N, K).
        mixing: maps (images, labels) to (images, targets), targets (N, K) being probabilities.
        data: what it trains on and evaluates.
        recipe, settings: what is trained, and how it is executed.
        directory: where `last.pt`, `best.pt`, `metrics.jsonl` and `tensorboard/` go. It must exist.
        ranks: this process's rank, and the device.
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
        check_fit(recipe, data, mixing, ranks)
        self.execution = settings.on(ranks)
        self.data, self.mixing, self.recipe, self.settings = data, mixing, recipe, settings
        self.directory, self.ranks, self.config = directory, ranks, config
        self.memory_format = torch.channels_last if self.execution.channels_last else torch.contiguous_format
        self.model = model.to(ranks.device)
        self.model.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(
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
        scaler = GradScaler(ranks.device.type, enabled=self.execution.precision == "fp16")
        select_on = "val" if "val" in data.sizes else "test"
        self.state = TrainingState(self.model, optimizer, scaler, generator, ranks, select_on)
        self.checkpoints = Checkpoints(
            directory, self.state, self.execution.precision, data.fingerprint, config, data.class_names
        )
        if self.execution.step == "graph" and settings.step == "auto" and (unsafe := unsafe_part(mixing, model)):
            print(f"note: {unsafe} is not known to work in a CUDA graph, so the step is eager; step=graph tries it")
            self.execution = replace(self.execution, step="eager")
        self.launch: Callable[..., None] | Graphed = lambda step, variant, *inputs: step(*inputs)
        if self.execution.step == "graph":
            self.launch = Graphed(recipe.batch_size, generator, mixing, CudaGraphs())
        self.pace = Pace(ranks.device)
        tracker = Tracker(settings.logger, "/".join(directory.parts[-5:]), config)
        self.log = RunLog(directory, self.state, recipe.epochs, len(self.batches), tracker)

    def describe(self) -> str:
        """Return in one line where and how the run is executed."""
        execution, ranks = self.execution, self.ranks
        layout = "channels_last" if execution.channels_last else "contiguous"
        return (
            f"{device_name(ranks.device)}: {ranks.world_size} rank{'s' * (ranks.world_size > 1)}, "
            f"precision {execution.precision}, {layout}, step {execution.step}, {self.data.workers} workers"
        )

    def fit(self) -> list[dict[str, Any]]:
        """Train to the last epoch, from the last checkpoint if there is one; return a dict of metrics per epoch.

        Raises:
            UserError: the loss is not finite, or a file cannot be read or written.
            Stopped: SIGTERM or SIGUSR2 came; the state was saved.
        """
        state = self.state
        if isinstance(self.launch, Graphed):
            self.launch.clear()
        on_gpu = [self.ranks.device] if self.ranks.device.type == "cuda" else []
        tf32 = self.execution.precision == "tf32"
        with numerics(self.settings.deterministic), full_precision(tf32), torch.random.fork_rng(devices=on_gpu):
            self.checkpoints.resume(self.recipe.epochs, len(self.batches))
            state.starts.append(start(self.ranks.device, epoch=state.epoch + 1, step=state.step))
            self.network = self._wrapped()
            self.log.begin(self.data.sizes["train"])
            try:
                with StopSignal(self.ranks) as stop:
                    try:
                        while state.epoch < self.recipe.epochs:
                            self.train_epoch(stop)
                            self.finish_epoch(stop)
                    except WaitInterrupted:
                        self.leave_if_asked(stop)
                    if stop.requested():  # it came during the last save
                        stop.leave(f"all {state.epoch} epochs in {self.directory}")
                self.checkpoints.remove_previous()
                self.log.end_run(self.config)
            finally:
                self.log.close()
        return state.history

    def train_epoch(self, stop: StopSignal) -> None:
        """Do the steps of the epoch that are not done yet."""
        state = self.state
        state.started = time.perf_counter()
        if state.step == 0:
            state.seed_streams(self.settings.seed)
        for group in state.optimizer.param_groups:
            group["lr"].fill_(self.recipe.learning_rate(state.epoch))
        set_progress(self.model, state.epoch / self.recipe.epochs)
        self.network.train()
        self.log.begin_epoch()
        plan = getattr(self.mixing, "plan", lambda: None)  # what a strategy decides on the host, ahead of the step
        first = state.step
        for inputs in stop.interruptible(self.batches.inputs(state.epoch, state.step)):
            variant = plan()
            if self.log.needs_picture(self.settings.log_images_every):
                self.log.picture(self.picture(*inputs))
            with untuned(len(inputs[0]) < self.recipe.batch_size // self.ranks.world_size):
                self.launch(self.train_step, variant, *inputs)
            self.pace()
            state.step += 1
            self.log.step()
            if state.step % self.settings.log_every == 0:
                self.log.loss(state.mean_loss())
            state.training_seconds = state.seconds_of_epoch()
            if self.settings.checkpoint_every and state.step % self.settings.checkpoint_every == 0:
                self.save()
            self.leave_if_asked(stop)
        if state.step > first:
            self.ranks.synchronize()  # a GPU still computes what the host has queued
            state.training_seconds = state.seconds_of_epoch()

    @torch.no_grad()
    def picture(self, *inputs: Tensor) -> bytes:
        """Return a PNG of the first images that the next step trains on, as they are mixed, with their labels."""
        streams = self.state.streams()
        images, labels = self.batches.prepare(*inputs)
        images, targets = copy(self.mixing)(images, labels)  # a copy: what it remembers of a batch is not the step's
        self.state.set_streams(streams)
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.data.mean, self.data.std))
        return grid([images[:PICTURED] * std + mean], describe(targets[:PICTURED], self.data.class_names))

    def train_step(self, *inputs: Tensor) -> None:
        """Do one step on what the data set's `inputs` yields. The host reads nothing, so a graph can hold it."""
        reduced = DTYPES.get(self.execution.precision)
        with torch.no_grad():
            images, labels = self.batches.prepare(*inputs)
            images, targets = self.mixing(images, labels)
            images = images.contiguous(memory_format=self.memory_format)
        with torch.autocast(self.ranks.device.type, reduced, enabled=reduced is not None):
            logits = self.network(images)
        loss = classification_loss(logits, targets, self.data.views)
        self.state.optimizer.zero_grad(set_to_none=True)
        scaler = self.state.scaler  # does nothing but for fp16
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(self.state.optimizer)
        scaler.update()

        count = len(labels) // self.data.views
        self.state.totals[0].add_(loss.detach(), alpha=count)
        self.state.totals[1].add_(count)

    def finish_epoch(self, stop: StopSignal) -> None:
        """Evaluate, and write the epoch down: first the checkpoint, then everything that can be made from it."""
        state, epoch = self.state, self.state.epoch
        train_loss = state.mean_loss()
        self.ranks.copy_from_main(self.model.buffers())  # BatchNorm statistics matter in evaluation only
        row: dict[str, Any] = {"epoch": epoch + 1, "lr": self.recipe.learning_rate(epoch), "train_loss": train_loss}
        due = epoch + 1 == self.recipe.epochs or (epoch + 1) % self.settings.evaluate_every == 0
        for split, batches in self.eval_batches.items() if due else ():
            result = evaluate(
                self.model,
                batches,
                self.ranks,
                wait=stop.interruptible,
                after_batch=lambda: self.leave_if_asked(stop),
                channels_last=self.execution.channels_last,
            )
            row |= {f"{split}_{name}": value for name, value in result.items() if name != "images"}
        row["seconds"] = state.seconds_of_epoch()
        row["images_per_second"] = self.ranks.sum(state.totals[1:].clone()).item() / state.training_seconds
        state.end_epoch(row)
        self.save()
        if state.best is not None and state.best["metrics"] is row:
            self.checkpoints.export_best()
        self.log.end_epoch()

    def save(self) -> None:
        """Write a checkpoint of this moment, after the events that came before it."""
        self.log.flush()
        self.checkpoints.save()

    def leave_if_asked(self, stop: StopSignal) -> None:
        """Save and leave if a signal came on any rank."""
        if stop.requested():
            self.save()
            self.log.close_bar()
            epoch, step = self.state.epoch + 1, self.state.step
            stop.leave(f"epoch {epoch}, step {step} of {len(self.batches)}, in {self.directory}")

    def record(self, config_hash: str) -> RunRecord:
        """Return the record of the finished run."""
        config, state = self.config, self.state
        history, starts = state.history, state.starts
        facts = {
            "dataset": config["dataset"]["name"],
            "model": config["model"]["name"],
            "method": config["method"],
            "recipe": config["recipe"]["name"],
            "config_hash": config_hash,
            "seed": config["seed"],
            "epochs": self.recipe.epochs,
            "selected_on": state.select_on,
            "evaluate_every": self.settings.evaluate_every,
            "best": best_row(history, state.select_on),
            "last": history[-1],
            "images": self.data.sizes,
            "data_fingerprint": self.data.fingerprint,
            **class_facts(self.data.class_names),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "images_per_second": sorted(row["images_per_second"] for row in history)[len(history) // 2],
            "seconds": sum(row["seconds"] for row in history),
            "precision": self.execution.precision,
            "channels_last": self.execution.channels_last,
            "step": self.execution.step,
            "world_sizes": state.world_sizes,
            "batch_per_rank": self.recipe.batch_size // self.ranks.world_size,
            "starts": starts,
        }
        return RunRecord.parse(facts)

    def _wrapped(self) -> nn.Module:
        if self.ranks.world_size == 1:
            return self.model
        devices = [self.ranks.device.index] if self.ranks.device.type == "cuda" else None
        # Of three terms the order matters to the last bit, and DistributedDataParallel orders its sums anew after the
        # first step of a process, unless it looks for unused parameters: then a resumed run adds as before.
        same_bits = self.ranks.world_size > 2 and (self.ranks.device.type == "cpu" or self.settings.deterministic)
        network: nn.Module = DistributedDataParallel(
            self.model,
            device_ids=devices,
            broadcast_buffers=False,  # they are copied before an evaluation
            gradient_as_bucket_view=True,
            find_unused_parameters=same_bits,
        )
        return network


def set_progress(model: nn.Module, fraction: float) -> None:
    """Tell every layer that has a method `set_progress` which fraction of the training, 0 to 1, is done."""
    for module in model.modules():
        listen = getattr(module, "set_progress", None)
        if listen is not None:
            listen(fraction)
