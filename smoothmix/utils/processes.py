"""Worker processes that do not outlive the process that started them, however it ends."""

import os
import threading
from multiprocessing import parent_process
from multiprocessing.connection import wait


def exit_with_parent() -> None:
    """End this process, started by :mod:`multiprocessing`, as soon as its parent has ended, even by SIGKILL."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def _exit_after(sentinel: int) -> None:
    wait([sentinel])  # a pipe, which the system closes with the parent
    os._exit(1)
