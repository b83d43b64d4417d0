"""SIGTERM and SIGUSR2: finish the step, save, leave."""

import os
import signal
from collections.abc import Iterable, Iterator
from multiprocessing import active_children
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar

from smoothmix.utils.distributed import Ranks, is_loss
from smoothmix.utils.files import write_text
from smoothmix.utils.processes import kill

Batch = TypeVar("Batch")


class Stopped(SystemExit):
    """The run was asked to stop and has saved its state. A SystemExit, so that it ends a whole sweep."""


class WaitInterrupted(Exception):
    """A signal came while a batch was waited for."""


class StopSignal:
    """While entered, SIGTERM and SIGUSR2 only set a flag, which `requested` shares among the ranks."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.number = 0
        self._waiting = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignal":
        for number in (signal.SIGTERM, signal.SIGUSR2):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # of a lost rank this one has yet to speak, and torchrun's SIGTERM is near
        lost = error is not None and is_loss(error)
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_IGN if lost else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._end_wait()

    def _end_wait(self) -> None:
        if self._waiting and self.number:
            raise WaitInterrupted

    def interruptible(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the `batches`; a signal that comes while one is waited for raises WaitInterrupted here.

        Workers that hang would otherwise keep the process from ever looking at the flag. With several ranks the signal
        only sets the flag: the others are in the midst of the step, and a rank that leaves alone cannot save it.
        """
        iterator = iter(batches)
        while True:
            self._waiting = self.ranks.world_size == 1
            try:
                self._end_wait()
                batch = next(iterator)
            except StopIteration:
                return
            finally:
                self._waiting = False
            yield batch

    def requested(self) -> bool:
        """Return whether any rank was signalled; every rank must ask equally often."""
        return self.ranks.any(self.number != 0)

    def leave(self, position: str) -> None:
        """Raise Stopped; to be called once the state is saved. `position` says where training stands.

        The exit status is 128 + the signal, as a shell reports it. torchrun hides it, so the position is also written
        to the file that the environment variable SMOOTHMIX_STOPPED names, if it is set.
        """
        number = self.number or signal.SIGTERM
        if self.ranks.is_main:
            name = signal.Signals(number).name
            print(f"{name}: saved {position}; run the same command again to resume", flush=True)
            if marker := os.environ.get("SMOOTHMIX_STOPPED"):
                write_text(Path(marker), position + "\n")
        kill(active_children())  # data workers that hang would keep this process from ending
        raise Stopped(128 + number)
