"""What a checkpoint must hold before a run goes on from it."""

from pathlib import Path
from typing import Any

from torch import Tensor

from smoothmix.utils.checks import is_count, is_percentage
from smoothmix.utils.errors import UserError

TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("epoch", "step", "world_size"), int),
    **dict.fromkeys(("seconds", "training_seconds"), (int, float)),
    **dict.fromkeys(("history", "streams", "totals", "world_sizes"), list),
    **dict.fromkeys(("data", "device"), str),
    "optimizer": dict,
}


def check_parts(state: dict[str, Any], path: Path, epochs: int, steps: int, select_on: str) -> None:
    """Raise UserError unless `state`, read from `path`, is one that a trainer wrote.

    Args:
        state: what `checkpoint.load` returned.
        path: where it was, for the message.
        epochs: of the run.
        steps: of an epoch, on this rank.
        select_on: the split whose error the best epoch is chosen by.
    """
    flaw = next((key for key, kind in TYPES.items() if not isinstance(state.get(key), kind)), None)
    if flaw is None:
        flaw = _inconsistent(state, epochs, steps, select_on)
    if flaw:
        raise UserError(f"{path} is not the checkpoint of such a run: its {flaw} is missing or wrong; move it away")


def _inconsistent(state: dict[str, Any], epochs: int, steps: int, select_on: str) -> str | None:
    """Return the name of a part whose value cannot be, or None."""
    for name, most in (("epoch", epochs), ("step", steps)):
        if not (is_count(state[name]) and state[name] <= most):
            return name
    rows = [row if isinstance(row, dict) else {} for row in state["history"]]
    numbered = [row.get("epoch") for row in rows] == [*range(1, state["epoch"] + 1)]
    error = f"{select_on}_top1_error"
    if not (numbered and all(is_percentage(row[error]) for row in rows if error in row)):
        return "history"
    if state["step"] and min(len(state["streams"]), len(state["totals"])) < state["world_size"]:
        return "streams"
    shapes = [total.shape if isinstance(total, Tensor) else None for total in state["totals"]]
    return "totals" if shapes != [(2,)] * len(shapes) else None
