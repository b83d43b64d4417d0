"""Checkpoints: written whole, the previous one kept, checked before a run resumes from them."""

import os
import shlex
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
from smoothmix.utils.records import (
    is_count,
    is_list_of_objects,
    is_loss,
    is_name,
    is_object,
    is_percentage,
    wrong_key,
)
from smoothmix.utils.weights import load_model, read

FORMAT = 1


def previous(path: Path) -> Path:
    """Return where the checkpoint `path` goes when the next one is saved."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_atomically(state: dict[str, Any], path: Path, before: Path | None = None) -> None:
    """Write `state` (tensors and plain Python values) to `path`, whole; the file that had the name becomes `before`.

    Raises:
        UserError: the file system refuses; the file that had the name still has it.
    """
    content = BytesIO()  # torch's zip writer would hide the reason for which a file cannot be written
    torch.save({"format": FORMAT, **state}, content)
    with replacing(path, "wb", before) as file:
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
    _put_aside(path)
    os.replace(previous(path), path)


def _put_aside(path: Path) -> None:
    if path.exists():
        os.replace(path, path.with_name(f"{path.stem}.damaged{path.suffix}"))


def _damaged_member(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except Exception as error:  # as torch, zipfile raises nearly anything on damaged bytes
        return f"all members ({error})"


class Checkpoints:
    """``last.pt``, the one state of a run, from which it resumes, and ``best.pt``, the best weights, written from it.

    Args:
        directory: of the run.
        state: what is saved, and changed by :meth:`resume`.
        precision, fingerprint: of the run and of its images; another value is refused on resume.
        config, class_names: kept in both files, so that they can be evaluated on their own: output k is class_names[k].
    """

    def __init__(
        self,
        directory: Path,
        state: TrainingState,
        precision: str,
        fingerprint: str,
        config: dict[str, Any],
        class_names: Sequence[str],
    ) -> None:
        self.state, self.ranks = state, state.ranks
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
            save_atomically(state, self.last, previous(self.last))

    def export_best(self) -> None:
        """Write ``best.pt``, once there is a best epoch."""
        if self.ranks.is_main and self.state.best is not None:
            save_atomically(self.state.best | self.meaning, self.best)

    def _exported(self) -> dict[str, Any]:
        """Return what is in ``best.pt``, nothing if it is missing or damaged."""
        try:
            return load(self.best)
        except UserError:
            return {}

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
        state = {"starts": [], "best": None} | state  # of which older checkpoints know nothing
        if flaw := _flaw(state, epochs, steps, self.state.select_on):
            raise UserError(
                f"{self.last} is not the checkpoint of such a run: its {flaw} is missing or wrong; move it away"
            )
        self._check_belongs(state)
        if state["best"] is None:
            state["best"] = self._best_of_older(best_row(state["history"], self.state.select_on))
        if state["best"] is not None:
            load_model(self.state.model, state["best"]["model"], self.last)  # for its checks
        load_model(self.state.model, state["model"], self.last)
        self.state.load_dict(state)
        if self._exported().get("metrics") != (self.state.best or {}).get("metrics"):
            self.export_best()  # the process ended before it was written; records know the file by its bytes

    def _check_belongs(self, state: dict[str, Any]) -> None:
        if state["data"] != self.fingerprint:
            raise other_images(f"{self.directory} was trained", state["data"], self.fingerprint)
        then, now = (
            f"{count} rank{'s' * (count != 1)} on {device}"
            for count, device in (
                (state["world_size"], state["device"]),
                (self.ranks.world_size, self.ranks.device.type),
            )
        )
        if state["step"] and then != now:
            raise UserError(
                f"{self.last} was saved in the middle of epoch {state['epoch'] + 1} by {then}, and now there is "
                f"{now}; run it with {then} again{self._or_from_an_epochs_end()}"
            )
        precision = state.get("precision", self.precision)
        if precision != self.precision:
            raise UserError(
                f"{self.last} was trained in {precision}, and precision=auto means {self.precision} on "
                f"{self.ranks.device.type}; resume it where it began, or start anew with precision={precision}"
            )

    def _or_from_an_epochs_end(self) -> str:
        """Return how to resume on any number of ranks, if the previous checkpoint can."""
        with suppress(UserError):
            state = load(previous(self.last))
            if state.get("step") == 0:
                command = shlex.join(["mv", str(previous(self.last)), str(self.last)])
                return f", or resume from the end of epoch {state.get('epoch')} on any number: {command}"
        return ""

    def _best_of_older(self, row: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return the best weights, of epoch `row`, from ``best.pt``: older checkpoints do not hold them."""
        if row is None:
            return None
        best = self._exported()
        if best.get("metrics") == row:
            return {"model": best["model"], "metrics": row}
        if self.ranks.is_main:
            _put_aside(self.best)
            print(
                f"note: {self.best} does not hold the best epoch so far, {row['epoch']}, whose weights are nowhere "
                "else; training resumes, and a better epoch may come",
                flush=True,
            )
        return None

    def remove_previous(self) -> None:
        """Remove the previous checkpoint, once the run has ended: it needs as much room as the last."""
        if self.ranks.is_main:
            previous(self.last).unlink(missing_ok=True)


def _flaw(state: dict[str, Any], epochs: int, steps: int, select_on: str) -> str | None:
    """Return the name of a part of a checkpoint that is missing or cannot be in a run of such length, or None."""
    error = f"{select_on}_top1_error"

    def is_history(rows: Any) -> bool:
        numbers = [*range(1, state["epoch"] + 1)]
        return (
            is_list_of_objects(rows)
            and [row.get("epoch") for row in rows] == numbers
            and all(is_percentage(row[error]) for row in rows if error in row)
        )

    def is_best(best: Any) -> bool:
        return best is None or (
            isinstance(best, dict)
            and isinstance(best.get("model"), dict)
            and best.get("metrics") == best_row(state["history"], select_on)
        )

    def is_of_ranks(values: Any) -> bool:
        return isinstance(values, list) and (state["step"] == 0 or len(values) >= state["world_size"])

    def is_totals(totals: Any) -> bool:
        return is_of_ranks(totals) and all(isinstance(total, Tensor) and total.shape == (2,) for total in totals)

    rules = {
        "epoch": lambda epoch: is_count(epoch) and epoch <= epochs,
        "step": lambda step: is_count(step) and step <= steps,
        **dict.fromkeys(("seconds", "training_seconds"), is_loss),
        **dict.fromkeys(("data", "device"), is_name),
        "world_size": is_count,
        "world_sizes": lambda sizes: isinstance(sizes, list) and all(map(is_count, sizes)),
        "history": is_history,
        "best": is_best,
        "streams": is_of_ranks,
        "totals": is_totals,
        "starts": is_list_of_objects,
        "optimizer": is_object,
    }
    return wrong_key(state, rules)
