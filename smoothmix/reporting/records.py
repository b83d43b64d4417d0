"""Reading the records that finished runs leave."""

import json
from pathlib import Path
from typing import Any

from smoothmix.errors import UserError


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Return the records of all finished runs beneath `folder`, sorted by path, each with its `directory`.

    Raises:
        UserError: there is no such folder, or a record in it is damaged (it is named).
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    records = []
    for path in sorted(folder.rglob("summary.json")):
        try:
            record = json.loads(path.read_text())
            complete = {"dataset", "model", "method", "recipe", "config_hash", "seed", "best", "last"} <= record.keys()
        except (json.JSONDecodeError, UnicodeDecodeError, AttributeError):
            complete = False
        if not complete:
            raise UserError(f"{path} is not a run record; move it away or run that run again")
        records.append({**record, "directory": str(path.parent)})
    return records
