"""What a run goes on from: its last checkpoint, or the one before if that is gone or damaged."""

import os
from pathlib import Path
from typing import Any

from smoothmix.training import checkpoint
from smoothmix.utils.errors import UserError


def newest(path: Path) -> tuple[dict[str, Any], str] | None:
    """Return the state in `path` or, failing that, in its previous file, with a note on why; None if there is neither.

    The note is empty where `path` is good. Nothing is changed on the disk: that is `settle`'s.

    Raises:
        UserError: `path` is there, and neither it nor the previous file can be used.
    """
    before = checkpoint.previous(path)
    if not path.exists() and not before.exists():
        return None
    try:
        return checkpoint.load(path), ""
    except UserError as error:
        if not before.exists():
            raise
        try:
            state = checkpoint.load(before)
        except UserError as other:
            raise UserError(f"{error}; {other}") from error
        reason = str(error).partition(";")[0]
        return state, f"{reason}; going on from the one before it, epoch {state['epoch'] + 1}, step {state['step']}"


def settle(path: Path) -> None:
    """Give the previous file the name `path`; a damaged `path` is kept, for one to look at."""
    if path.exists():
        os.replace(path, path.with_name(f"{path.stem}.damaged{path.suffix}"))
    os.replace(checkpoint.previous(path), path)


def holds_best(path: Path, best: dict[str, Any]) -> bool:
    """Return whether `path` holds weights with the metrics `best`; its previous file, if that does, takes its name."""
    for candidate in (path, checkpoint.previous(path)):
        try:
            metrics = checkpoint.load(candidate).get("metrics")
        except UserError:  # missing or damaged
            continue
        if metrics == best:
            if candidate != path:
                os.replace(candidate, path)
            return True
    return False
