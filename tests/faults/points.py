"""Moments at which a process kills itself, by name: patches of what the program calls, in a forked child only.

Each point is a function that takes `hit` and patches the child so that `hit` is called whenever the moment comes;
`hit(spoil)` calls `spoil` before it kills, to leave a file as a kill in the midst of a write would.
"""

import os
import re
import signal
from collections.abc import Callable
from functools import wraps
from typing import Any

Hit = Callable[..., None]
Point = Callable[[Hit], None]


class Hits:
    """Counts how often a moment has come; the k-th time, this process dies by SIGKILL (never, if `at` is 0)."""

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def __call__(self, spoil: Callable[[], Any] = lambda: None) -> None:
        """Tell that the moment has come."""
        self.count += 1
        if self.count == self.at:
            spoil()
            os.kill(os.getpid(), signal.SIGKILL)


def in_a_step(hit: Hit) -> None:
    """Between the gradients and the update of the weights."""
    import torch

    _around(torch.Tensor, "backward", after=lambda *_: hit())


def half_written(name: str) -> Point:
    """A file that is written beside its target, `name` or what ends so, has half of its bytes."""
    part = re.compile(rf".*{re.escape(name)}\.[0-9a-f]{{16}}\.part")

    def install(hit: Hit) -> None:
        def halve(file: int) -> None:
            if part.fullmatch(os.readlink(f"/proc/self/fd/{file}")):
                hit(lambda: os.ftruncate(file, os.fstat(file).st_size // 2))

        _around(os, "fsync", before=halve)

    return install


def renaming(when: str, name: str) -> Point:
    """A new file is written: "before" it takes the name `name`, or just "after" it has."""

    def install(hit: Hit) -> None:
        _around(os, "replace", **{when: lambda _, target: hit() if str(target).endswith("/" + name) else None})

    return install


def in_events(hit: Hit) -> None:
    """Half of a TensorBoard event is in its file."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    def halve(records: RecordWriter, event: bytes) -> None:
        file = records._writer
        hit(lambda: (file.flush(), os.ftruncate(file.fileno(), os.fstat(file.fileno()).st_size - len(event) // 2)))

    _around(RecordWriter, "write", after=halve)


def in_a_download(hit: Hit) -> None:
    """A piece of the body has been received, and is not in the file yet."""
    import http.client

    _around(http.client.HTTPResponse, "read", after=lambda *_: hit())


def _around(owner: Any, name: str, before: Callable[..., Any] | None = None, after: Callable[..., Any] | None = None):
    """Let `owner.name` call `before` and `after` with its arguments too."""
    original = getattr(owner, name)

    @wraps(original)
    def patched(*args, **kwargs):
        if before is not None:
            before(*args)
        result = original(*args, **kwargs)
        if after is not None:
            after(*args)
        return result

    setattr(owner, name, patched)
