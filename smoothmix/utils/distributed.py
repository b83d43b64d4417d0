"""One process or many: the same code, with collectives that are no-ops for one."""

import atexit
import gc
import math
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from smoothmix.utils.errors import UserError

TIMEOUT = 600.0  # seconds
GRACE = 5.0  # seconds in which all living ranks notice that one is lost: its connections close, or all waits end
CPU = torch.device("cpu")
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Ranks:
    """This process among the ranks of the run, and its device."""

    device: torch.device = CPU
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and prints."""
        return self.rank == 0

    def synchronize(self) -> None:
        """Wait until the device has done what was queued on it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of `tensor` over the ranks; `tensor` itself is overwritten with it."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on any rank. Goes through host memory: the device is not waited for."""
        if self.world_size == 1:
            return flag
        return bool(self.sum(torch.tensor([float(flag)])).item())

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's `value` (any picklable object), in rank order."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def copy_from_main(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the `tensors` of every rank with rank 0's."""
        if self.world_size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)


ONE_RANK = Ranks()  # a single process, on the CPU


def init_distributed(device: str, timeout: float = TIMEOUT) -> Ranks:
    """Join the ranks that torchrun started, if it did. A process joins once, and leaves the group at its end.

    `device` is ``cpu``, ``cuda`` or ``auto`` (cuda where there is one). Under torchrun each rank takes the GPU of its
    LOCAL_RANK; tensors on GPUs travel by NCCL, those on the CPU by gloo. A rank that waits longer than `timeout`
    seconds for another has lost it: what it was doing raises, and `is_lost_rank` knows that error.

    Raises:
        UserError: no such device, more ranks than GPUs on this machine, or a timeout that is no time.
    """
    if not 0 < timeout < math.inf:
        raise UserError(f"timeout must be a number of seconds above 0, not {timeout}")
    if device not in ("auto", "cpu", "cuda"):
        hint = "; Apple's GPUs are not supported" if device == "mps" else ""
        raise UserError(f"device must be auto, cpu or cuda, not {device!r}{hint}")
    # read once per process, at the first product on a GPU: too late when a deterministic run of a sweep begins
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if device != "cpu" and not on_gpu:
        reason = unusable_gpu()
        if device == "cuda":
            raise UserError(f"device=cuda, but {reason or 'torch finds no CUDA device here'}; or use device=cpu")
        if reason:
            print(f"note: {reason}; this run uses the CPU", flush=True)
    local_rank, world_size = of_torchrun("LOCAL_RANK", 0), of_torchrun("WORLD_SIZE", 1)
    if on_gpu and local_rank >= torch.cuda.device_count():
        raise UserError(
            f"local rank {local_rank} has no GPU of its own: this machine has {torch.cuda.device_count()}; "
            "start torchrun with as many processes as there are GPUs"
        )
    place = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(place)
    if world_size == 1:
        return Ranks(place)
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise UserError(
            f"WORLD_SIZE={world_size}, but {' and '.join(missing)} is not set; start several ranks with torchrun: "
            "torchrun --nproc_per_node=2 train.py"
        )
    if not dist.is_initialized():
        rank = of_torchrun("RANK", 0)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            timeout=timedelta(seconds=timeout),
            store=_store(timeout),
            rank=rank,
            world_size=world_size,
        )
        atexit.register(destroy_process_group)
    return Ranks(place, dist.get_rank(), world_size)


def of_torchrun(name: str, default: int) -> int:
    """Return a number that torchrun sets in the environment, `default` where it is not set or empty.

    Raises:
        UserError: it is not a whole number.
    """
    value = os.environ.get(name) or str(default)
    if not value.isdecimal():
        raise UserError(f"the environment variable {name} must be a whole number, not {value!r}; torchrun sets it")
    return int(value)


def unusable_gpu() -> str:
    """Return why an NVIDIA GPU of this machine cannot be used by the installed torch, or nothing if there is none."""
    if not NVIDIA_DRIVER.exists():
        return ""
    if torch.version.cuda is None:
        return f"this machine has a GPU, but torch {torch.__version__} is built without CUDA: install its CUDA build"
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return "CUDA_VISIBLE_DEVICES is empty, which hides the GPUs: unset it"
    return (
        f"this machine has an NVIDIA GPU, but torch {torch.__version__} cannot use it: update the driver for CUDA "
        f"{torch.version.cuda}, or install a torch built for an older CUDA"
    )


def destroy_process_group() -> None:
    """Leave the group that `init_distributed` made, if it did."""
    if dist.is_initialized():
        gc.collect()  # DistributedDataParallel keeps the group in cycles, and one that outlives this may abort the exit
        dist.destroy_process_group()


def is_lost_rank(error: BaseException) -> bool:
    """Return whether `error` says that another rank has ended or hangs; gloo's errors are known by their words only."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in ("gloo", "caused pair closure"))


def lost_ranks() -> list[int]:
    """Return the ranks that are lost, to be called by every rank that has an error of which `is_lost_rank` is true.

    Each of them says so in the store of torchrun, which outlives the ranks; who has not after `GRACE` seconds is lost.
    SIGTERM, which torchrun sends as soon as one rank has ended, is ignored from here on: this rank ends anyway.

    Raises:
        RuntimeError: the store is lost too.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    store = _store(GRACE)
    keys = [f"lost/{rank}" for rank in range(int(os.environ["WORLD_SIZE"]))]
    store.set(keys[int(os.environ["RANK"])], "here")
    deadline = time.monotonic() + GRACE
    while (lost := [rank for rank, key in enumerate(keys) if not store.check([key])]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return lost


def _store(timeout: float) -> Any:
    """Return what the ranks of this attempt have in common: a part of the store that torchrun keeps for all attempts.

    Without the prefix a rank of the next attempt may read where one of the last attempt listened, and not find it.
    """
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    hosts = os.environ["RANK"] == "0" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = dist.TCPStore(  # type: ignore[attr-defined]
        address, port, is_master=hosts, timeout=timedelta(seconds=timeout), multi_tenant=True
    )
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"attempt {attempt}", store)  # type: ignore[attr-defined]
