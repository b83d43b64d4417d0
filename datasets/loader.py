"""Many images: from worker processes to the device."""

import atexit
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import cache, partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datasets.batches import epoch_order, remaining
from smoothmix.utils.errors import UserError


def check_workers(workers: int) -> None:
    """Raise UserError for a negative number of workers."""
    if workers < 0:
        raise UserError(f"workers={workers} is negative: 0 reads images in the training process itself")


class EpochSampler:
    """The batches of (epoch, index) of the epoch that was started last."""

    def __init__(self, n: int, pieces: list[slice], seed: int):
        self.n, self.pieces, self.seed = n, pieces, seed
        self.epoch, self.steps = 0, pieces

    def start(self, epoch: int, start_step: int) -> None:
        """Let the next iteration begin at step `start_step` of `epoch`."""
        self.epoch, self.steps = epoch, remaining(self.pieces, start_step)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = epoch_order(self.n, self.seed, self.epoch)
        for piece in self.steps:
            yield [(self.epoch, index) for index in order[piece]]


def _collate(items: list) -> tuple[Tensor, ...] | UserError:
    """Stack a batch; an error among the items comes instead of the batch.

    An exception raised in a worker would reach the parent as another one, with the worker's traceback for a message.
    """
    for item in items:
        if isinstance(item, UserError):
            return item
    return tuple(torch.stack(column) for column in zip(*items, strict=True))


def batches_on(loader: DataLoader, device: torch.device) -> Iterator[tuple[Tensor, ...]]:
    """Yield the batches of `loader` on `device`; raise the UserError that came instead of one."""
    move = _beside_the_work(device) if device.type == "cuda" else partial(_move, device)
    for batch in loader:
        if isinstance(batch, UserError):
            raise UserError(*batch.args)  # a new one: `batch` would tie this frame and the workers into a cycle
        yield move(batch)


def _move(device: torch.device, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.to(device, non_blocking=True) for tensor in batch)


def _beside_the_work(device: torch.device) -> Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """Return a function that copies a batch to a GPU on a stream of its own.

    The host runs ahead of the GPU, so a batch crosses the bus while the GPU still works on the one before it.
    """
    aside = _copy_stream(device)

    def move(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        with torch.cuda.stream(aside):
            moved = _move(device, batch)
        main = torch.cuda.current_stream(device)
        main.wait_stream(aside)
        for tensor in moved:
            tensor.record_stream(main)  # or the next copy could overwrite it while it is in use
        return moved

    return move


@cache  # one for every loader: memory that one stream frees, another cannot reuse
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def make_loader(items: Dataset, batches: object, workers: int, device: torch.device) -> DataLoader:
    """Return a loader of the items that `batches` names, read by `workers` processes that serve every epoch."""
    loader = DataLoader(
        items,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
        worker_init_fn=_leave_signals_to_the_parent,
        generator=torch.Generator(),  # or the loader would draw from, and change, the global generator
    )
    # A program that fails in the middle of an epoch would otherwise wait 5 seconds for each worker.
    atexit.register(stop_workers, weakref.ref(loader))
    return loader


def stop_workers(reference: "weakref.ref[DataLoader]") -> None:
    """End the workers of a loader that may be gone."""
    loader = reference()
    if loader is not None and loader._iterator is not None:
        loader._iterator._shutdown_workers()


def _leave_signals_to_the_parent(worker: int) -> None:
    """Make a worker deaf to a signal that is sent to the whole process group: the parent finishes its step and saves.

    A SIGTERM from the parent itself, with which it ends its children, still counts.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_exit_when_told, args=(os.getppid(),), daemon=True).start()


def _exit_when_told(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
