"""Reading the records that finished runs leave."""

import json
from pathlib import Path
from typing import Any

from smoothmix.errors import UserError

KEYS = {"dataset", "model", "method", "recipe", "config_hash", "seed", "best", "last"}


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Return the records of all finished runs beneath `folder`, sorted by path, each with its `directory`.

    Raises:
        UserError: there is no such folder, or a record in it is damaged (it is named).
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    return [read_record(path) for path in sorted(folder.rglob("summary.json"))]


def read_record(path: Path) -> dict[str, Any]:
    """Return the record in the file `path`, with its `directory`.

    Raises:
        UserError: it cannot be read, or is damaged.
    """
    try:
        record = json.loads(path.read_text())
        complete = record.keys() >= KEYS
    except (OSError, ValueError, AttributeError):
        complete = False
    if not complete:
        raise UserError(f"{path} is not a run record; move it away or run that run again")
    return {**record, "directory": str(path.parent)}
