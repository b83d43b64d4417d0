"""Many images: from worker processes to the device."""

import atexit
import os
import queue
import resource
import signal
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from functools import cache
from multiprocessing.connection import Listener, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from datasets.sampling import EpochSampler, rank_pieces
from smoothmix.utils.command import kill
from smoothmix.utils.data import Batch
from smoothmix.utils.distributed import TIMEOUT, Ranks
from smoothmix.utils.errors import UserError

LIMIT = TIMEOUT / 2  # seconds to wait for a batch; other ranks wait longer, so that this one says what it waits for
PREFETCH = 2  # batches that each worker prepares ahead
SHARED_MEMORY_IS_FULL = (
    "/dev/shm, through which data workers send batches, is full: give the container more (docker run --shm-size=8g), "
    "or lower dataset.workers or the batch size; dataset.workers=0 needs none"
)


def _collate(items: list) -> tuple[Tensor, ...] | UserError:
    """Stack a batch; an error among the items comes instead of the batch.

    An exception raised in a worker would reach the parent as another one, with the worker's traceback for a message.
    """
    for item in items:
        if isinstance(item, UserError):
            return item
    batch = tuple(torch.stack(column) for column in zip(*items, strict=True))
    if get_worker_info() is not None:
        try:
            for tensor in batch:
                tensor.share_memory_()  # left to the queue's thread, a failure would only be printed and the batch lost
        except RuntimeError as error:
            return UserError(f"{SHARED_MEMORY_IS_FULL} ({error})")
    return batch


class WorkerBatches:
    """The training batches of one rank, whose images workers read or augment. One epoch runs at a time.

    ``len`` is the number of steps in an epoch.

    Args:
        items: the training images by (epoch, index).
        batch_size: of all ranks together.
        prepare: turns the tensors of a collated batch of `items`, on the device, into images and labels.
    """

    def __init__(
        self, items: Any, batch_size: int, seed: int, ranks: Ranks, workers: int, prepare: Callable[..., Batch]
    ):
        self.device, self.prepare = ranks.device, prepare
        self.pieces = rank_pieces(len(items), batch_size, ranks)
        self.sampler = EpochSampler(len(items), self.pieces, seed)
        self.loader = make_loader(items, self.sampler, workers, ranks.device)

    def __len__(self) -> int:
        return len(self.pieces)

    def inputs(self, epoch: int, start_step: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """Yield what `prepare` makes the batches of, each (n, ...); see :class:`smoothmix.utils.data.TrainBatches`.

        Raises:
            UserError: an image that cannot be read.
        """
        self.sampler.start(epoch, start_step)
        yield from batches_on(self.loader, self.device)


def batches_on(loader: DataLoader, device: torch.device) -> Iterator[tuple[Tensor, ...]]:
    """Yield the batches of `loader` on `device`.

    Raises:
        UserError: one came instead of a batch, a worker was killed, or no batch came for `LIMIT` seconds.
    """
    copies = _copy_stream(device) if device.type == "cuda" else None
    for batch in _received(loader, device) if loader.num_workers else loader:
        if isinstance(batch, UserError):
            raise UserError(*batch.args)  # a new one: `batch` would tie this frame and the workers into a cycle
        # the host runs ahead of a GPU, so a batch crosses the bus while the GPU still works on the one before it
        with nullcontext() if copies is None else torch.cuda.stream(copies):
            moved = tuple(tensor.to(device, non_blocking=True) for tensor in batch)
        if copies is not None:
            main = torch.cuda.current_stream(device)
            main.wait_stream(copies)
            for tensor in moved:
                tensor.record_stream(main)  # or the next copy could overwrite it while it is in use
        yield moved


def _received(loader: DataLoader, device: torch.device) -> Iterator[tuple[Tensor, ...] | UserError]:
    """Yield the batches of the workers, received by a thread: a stopped worker can block who receives for ever.

    A signal handler may raise here, in the main thread, as long as a batch is waited for.
    """
    received: queue.Queue[Any] = queue.Queue(maxsize=1)
    closed = threading.Event()
    thread = threading.Thread(target=_receive, args=(loader, device, received, closed), daemon=True)
    thread.start()
    try:
        while (batch := _next(received, loader)) is not None:
            yield batch
    except GeneratorExit:  # no more batches are wanted
        raise
    except BaseException:
        kill(_workers(loader))
        raise
    finally:
        closed.set()
        _join(thread, received, loader)


def _receive(loader: DataLoader, device: torch.device, received: queue.Queue[Any], closed: threading.Event) -> None:
    """Put the batches of an epoch into `received`, then None; or the exception that ended it."""
    if device.type == "cuda":
        torch.cuda.set_device(device)  # of this thread: batches are pinned for it
    try:
        for batch in loader:
            received.put(batch)
            if closed.is_set():
                return
        received.put(None)
    except Exception as error:
        received.put(error)


def _next(received: queue.Queue[Any], loader: DataLoader) -> Any:
    """Return the next batch, or None; raise what ended the epoch, or a UserError after `LIMIT` seconds."""
    try:
        batch = received.get(timeout=LIMIT)
    except queue.Empty:
        raise UserError(
            f"no batch came from {loader.num_workers} workers for {LIMIT:.0f} seconds: they are stopped, or the "
            "storage does not answer; run again once it does"
        ) from None
    if isinstance(batch, Exception) and not isinstance(batch, UserError):
        raise _lost(_workers(loader), batch) from None
    return batch


def _join(thread: threading.Thread, received: queue.Queue[Any], loader: DataLoader) -> None:
    """Wait until the thread has received its last batch, but not for workers that were killed: they never send one."""
    for _ in range(1000):  # 10 seconds
        with suppress(queue.Empty):
            received.get_nowait()
        thread.join(0.01)
        killed = [worker.exitcode == -signal.SIGKILL for worker in _workers(loader)]
        if not thread.is_alive() or (killed and all(killed)):
            return


def _workers(loader: DataLoader) -> list[BaseProcess]:
    return [] if loader._iterator is None else loader._iterator._workers


def _lost(workers: list[BaseProcess], error: Exception) -> Exception:
    """Return the error for a batch that did not come: a worker's end in one sentence, or else what was raised."""
    # A broken connection is seen before the worker's end, and its closed sentinel before its exit status.
    ended = wait([worker.sentinel for worker in workers], timeout=1)
    for worker in workers:
        if worker.sentinel in ended:
            worker.join(1)
        if worker.exitcode is not None and worker.exitcode < 0:
            if worker.exitcode == -signal.SIGBUS:
                return UserError(SHARED_MEMORY_IS_FULL)
            return UserError(
                f"a data worker (process {worker.pid}) was killed by {signal.Signals(-worker.exitcode).name}: most "
                "likely the machine ran out of memory; use fewer dataset.workers or ask for more memory"
            )
    return error


@cache  # one for every loader: memory that one stream frees, another cannot reuse
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def make_loader(items: Dataset, batches: Any, workers: int, device: torch.device) -> DataLoader:
    """Return a loader of the items that `batches` names, read by `workers` processes that serve every epoch.

    Raises:
        UserError: too few files may be open, or TMPDIR is no folder for the workers' sockets.
    """
    if workers:
        _check_open_files(workers)
        _check_sockets()
    loader = DataLoader(
        items,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=device.type == "cuda",
        prefetch_factor=PREFETCH if workers else None,
        persistent_workers=workers > 0,
        worker_init_fn=_leave_signals_to_the_parent,
        generator=torch.Generator(),  # or the loader would draw from, and change, the global generator
    )
    # A program that fails in the middle of an epoch would otherwise wait 5 seconds for each worker.
    atexit.register(stop_workers, weakref.ref(loader))
    return loader


def _check_open_files(workers: int) -> None:
    """Raise UserError unless this process may open the files of so many workers: with too few, a batch never comes."""
    allowed, needed = resource.getrlimit(resource.RLIMIT_NOFILE)[0], 64 + 16 * workers
    if 0 <= allowed < needed:
        raise UserError(
            f"{workers} workers need {needed} open files, and {allowed} are allowed: raise that (ulimit -n 4096) or "
            "set a smaller dataset.workers"
        )


def _check_sockets() -> None:
    """Raise UserError unless workers can open the sockets through which they pass shared memory on."""
    try:
        Listener(family="AF_UNIX").close()
    except OSError as error:
        raise UserError(
            f"workers cannot open a socket in {tempfile.gettempdir()} ({error}): set the environment variable TMPDIR "
            "to a shorter path that can be written to, such as /tmp, or set dataset.workers=0"
        ) from error


def stop_workers(reference: "weakref.ref[DataLoader]") -> None:
    """End the workers of a loader that may be gone."""
    loader = reference()
    if loader is not None and loader._iterator is not None:
        loader._iterator._shutdown_workers()


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ignore a signal that is sent to the whole process group, in a worker: the parent finishes its step and saves.

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
