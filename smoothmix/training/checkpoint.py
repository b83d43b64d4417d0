"""Checkpoints: written whole, the previous one kept, checked before a run resumes from them."""

import os
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smoothmix.training.state import TrainingState, best_row
from smoothmix.utils.data import other_images
from smoothmix.utils.distributed import is_lost_rank
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import replacing
from smoothmix.utils.records import is_count, is_percentage
from smoothmix.utils.weights import load_model, read

FORMAT = 1


def previous(path: Path) -> Path:
    """Return where the checkpoint goes that `save_atomically` replaces."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write `state` (tensors and plain Python values) to `path`, whole; the file before it becomes `previous(path)`.

    Raises:
        UserError: the file system refuses; the file before it is still there.
    """
    content = BytesIO()  # torch's zip writer would hide the reason for which a file cannot be written
    torch.save({"format": FORMAT, **state}, content)
    with replacing(path, "wb", previous(path)) as file:
        file.write(content.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """Return what `save_atomically` wrote, on the CPU. Only tensors and plain values are admitted (`weights_only`).

    Its checksums are those of the zip archive that torch.save makes, a CRC-32 of every member; torch.load skips them.

    Raises:
        UserError: missing, truncated, damaged, hostile, or not a checkpoint of this repository.
    """
    state = read(path)
    if member := _damaged_member(path):
        raise UserError(f"{path} is damaged (the checksum of {member} is another); move it away or restore a copy")
    parts = state if isinstance(state, dict) and state.get("format") == FORMAT else {}
    if not (isinstance(parts.get("model"), dict) and isinstance(parts.get("config"), dict)):
        raise UserError(f"{path} is not a checkpoint of this repository (format {FORMAT})")
    return parts


def load_newest(path: Path) -> tuple[dict[str, Any], str] | None:
    """Return the state in `path` or, if that cannot be used, in its previous file; None if there is neither.

    The text beside it says why it is the previous one; it is empty where `path` is good. Nothing on the disk changes.

    Raises:
        UserError: there are files, and none of them can be used.
    """
    before = previous(path)
    if not path.exists() and not before.exists():
        return None
    try:
        return load(path), ""
    except UserError as error:
        if not before.exists():
            raise
        try:
            state = load(before)
        except UserError as other:
            raise UserError(f"{error}; {other}") from error
        reason = str(error).partition(";")[0]
        return state, f"{reason}; resuming from the one before it, epoch {state['epoch'] + 1}, step {state['step']}"


def restore_previous(path: Path) -> None:
    """Rename the previous file to `path`; a damaged `path` is kept, for someone to look at."""
    _keep_damaged(path)
    os.replace(previous(path), path)


def _keep_damaged(path: Path) -> None:
    if path.exists():
        os.replace(path, path.with_name(f"{path.stem}.damaged{path.suffix}"))


def _damaged_member(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except Exception as error:  # as torch, zipfile raises nearly anything on damaged bytes
        return f"all members ({error})"


class Checkpoints:
    """``last.pt``, from which a run resumes, and ``best.pt``, the weights of its best epoch, in the run directory.

    Args:
        directory: of the run.
        state: what is saved, and changed by :meth:`resume`.
        select_on: the split whose top-1 error tells the best epoch.
        precision, fingerprint: of the run and of its images; another value is refused on resume.
        config, class_names: kept in both files, so that they can be evaluated on their own: output k is class_names[k].
    """

    def __init__(
        self,
        directory: Path,
        state: TrainingState,
        select_on: str,
        precision: str,
        fingerprint: str,
        config: dict[str, Any],
        class_names: Sequence[str],
    ) -> None:
        self.state, self.ranks, self.select_on = state, state.ranks, select_on
        self.meaning = {"config": config, "class_names": list(class_names)}
        self.precision, self.fingerprint = precision, fingerprint
        self.directory, self.last, self.best = directory, directory / "last.pt", directory / "best.pt"

    def save(self) -> None:
        """Write ``last.pt``. Every rank has to call it.

        Raises:
            UserError: the state is not finite, or the file system refuses.
        """
        self.state.check_finite()
        state = self.state.to_dict() | {
            "device": self.ranks.device.type,
            "precision": self.precision,
            "world_size": self.ranks.world_size,
            "data": self.fingerprint,
            **self.meaning,
        }
        if self.ranks.is_main:
            save_atomically(state, self.last)

    def save_best(self) -> None:
        """Write ``best.pt``, weights only, if the epoch just finished is the best so far (the first of equals)."""
        best = best_row(self.state.history, self.select_on)
        if self.ranks.is_main and best is not None and best["epoch"] == self.state.epoch:
            state = {"model": self.state.model.state_dict(), "metrics": best, **self.meaning}
            save_atomically(state, self.best)

    def resume(self, epochs: int, steps: int) -> None:
        """Take up the newest whole checkpoint, if there is one. Every rank has to call it.

        Args:
            epochs: of the run.
            steps: of an epoch.

        Raises:
            UserError: there are files, but none can be used; it belongs to another run; or it was saved in the middle
                of an epoch by other ranks, who had other random streams.
        """
        try:
            self._resume(epochs, steps)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if is_lost_rank(error):
                raise
            raise UserError(f"{self.last} is not the checkpoint of such a run ({error!r}); move it away") from error

    def _resume(self, epochs: int, steps: int) -> None:
        found = load_newest(self.last)
        position = None if found is None else (found[0]["epoch"], found[0]["step"])
        if any(other != position for other in self.ranks.gather(position)):
            raise UserError(f"the ranks see different checkpoints in {self.directory}; run again once they agree")
        if found is None:
            return
        state, note = found
        if note and self.ranks.is_main:
            print(f"note: {note}", flush=True)
            restore_previous(self.last)
        if flaw := _flaw(state, epochs, steps, self.select_on):
            raise UserError(
                f"{self.last} is not the checkpoint of such a run: its {flaw} is missing or wrong; move it away"
            )
        self._check_belongs(state)
        load_model(self.state.model, state["model"], self.last)
        self.state.load_dict(state)
        if self.ranks.is_main:
            self._recover_best()

    def _check_belongs(self, state: dict[str, Any]) -> None:
        if state["data"] != self.fingerprint:
            raise other_images(f"{self.directory} was trained", state["data"], self.fingerprint)
        then = f"{state['world_size']} ranks on {state['device']}"
        now = f"{self.ranks.world_size} ranks on {self.ranks.device.type}"
        if state["step"] and then != now:
            raise UserError(
                f"{self.last} was saved in the middle of epoch {state['epoch'] + 1} by {then}, and now there are "
                f"{now}; another number or device can resume only from an epoch's end"
            )
        precision = state.get("precision", self.precision)
        if precision != self.precision:
            raise UserError(
                f"{self.last} was trained in {precision}, and precision=auto means {self.precision} on "
                f"{self.ranks.device.type}; resume it where it began, or start anew with precision={precision}"
            )

    def _recover_best(self) -> None:
        """Make ``best.pt`` agree with the history: the process may have ended before it was written, or lost an epoch.

        The weights of an earlier epoch are nowhere else: where they are damaged, training resumes without them.
        """
        if not self.has_best() and self.state.step == 0:
            self.save_best()
        if not self.has_best():
            _keep_damaged(self.best)
            print(
                f"note: {self.best} is missing or damaged, and the weights of the best epoch so far are nowhere else; "
                "training resumes without them, and the record says so",
                flush=True,
            )

    def has_best(self) -> bool:
        """Return whether ``best.pt`` holds the best epoch; its previous file, if that does, is renamed to it.

        True as long as no epoch was evaluated.
        """
        best = best_row(self.state.history, self.select_on)
        if best is None:
            return True
        for path in (self.best, previous(self.best)):
            with suppress(UserError):  # missing or damaged
                if load(path).get("metrics") == best:
                    if path != self.best:
                        os.replace(path, self.best)
                    return True
        return False

    def remove_previous(self) -> None:
        """Remove the previous files, once the run has ended: they need as much room as the others."""
        if self.ranks.is_main:
            for path in (self.last, self.best):
                previous(path).unlink(missing_ok=True)


TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("epoch", "step", "world_size"), int),
    **dict.fromkeys(("seconds", "training_seconds"), (int, float)),
    **dict.fromkeys(("history", "streams", "totals", "world_sizes"), list),
    **dict.fromkeys(("data", "device"), str),
    "optimizer": dict,
}


def _flaw(state: dict[str, Any], epochs: int, steps: int, select_on: str) -> str | None:
    """Return the name of a part of a checkpoint that is missing or cannot be in a run of such length, or None."""
    for key, kind in TYPES.items():
        if not isinstance(state.get(key), kind):
            return key
    for name, most in (("epoch", epochs), ("step", steps)):
        if not (is_count(state[name]) and state[name] <= most):
            return name
    rows = [row if isinstance(row, dict) else {} for row in state["history"]]
    numbered = [row.get("epoch") for row in rows] == [*range(1, state["epoch"] + 1)]
    error = f"{select_on}_top1_error"
    if not (numbered and all(is_percentage(row[error]) for row in rows if error in row)):
        return "history"
    starts = state.get("starts", [])
    if not isinstance(starts, list) or not all(isinstance(start, dict) for start in starts):
        return "starts"
    if state["step"] and min(len(state["streams"]), len(state["totals"])) < state["world_size"]:
        return "streams"
    shapes = [total.shape if isinstance(total, Tensor) else None for total in state["totals"]]
    return "totals" if shapes != [(2,)] * len(shapes) else None
