"""Worker processes that do not outlive the process that started them, and those that end by no other means."""

import os
import signal
import threading
from collections.abc import Iterable
from multiprocessing import parent_process
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess


def exit_with_parent() -> None:
    """End this process, started by :mod:`multiprocessing`, as soon as its parent has ended, even by SIGKILL."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def kill(processes: Iterable[BaseProcess]) -> None:
    """Kill child processes: one that is stopped, or waits for storage, ends by no other signal.

    torch answers the end of a killed data worker with an exception wherever the main thread is, so its handler is left
    out until they are gone.
    """
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        for process in processes:
            process.kill()
            process.join(1)
    finally:
        signal.signal(signal.SIGCHLD, handler)


def _exit_after(sentinel: int) -> None:
    wait([sentinel])  # a pipe, which the system closes with the parent
    os._exit(1)
