"""Reading the records that finished runs leave."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from smoothmix.utils.checks import RUN, is_percentage, read_object, wrong_key
from smoothmix.utils.errors import UserError

KEY = ("dataset", "model", "method", "recipe", "config_hash", "seed")  # what tells one run from another


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Return the records of all finished runs beneath `folder`, sorted by path, each with its `directory` and `path`.

    Raises:
        UserError: there is no such folder, a record in it is damaged (it is named), or the seeds of a setting were
            trained in two precisions.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    records = [read_record(path) for path in sorted(folder.rglob("summary.json"))]
    _check_precision(records)
    return records


def read_record(path: Path) -> dict[str, Any]:
    """Return the record in the file `path`, with its `directory` and `path`.

    Raises:
        UserError: it cannot be read, or is damaged.
    """
    try:
        record = read_object(path)
        errors = {
            f"{when}.test_top{k}_error": record[when][f"test_top{k}_error"] for when in ("best", "last") for k in (1, 5)
        }
        flaw = wrong_key(record, RUN) or wrong_key(errors, dict.fromkeys(errors, is_percentage))
        if record.get("selected_on", "test") not in ("test", "val"):
            flaw = "selected_on"
        reason = f" ({flaw} is missing or wrong)" if flaw else None
    except (OSError, ValueError, LookupError, TypeError):
        reason = ""
    if reason is not None:
        raise UserError(f"{path} is not a run record; move it away or run that run again{reason}")
    return {**record, "directory": str(path.parent), "path": str(path)}


def read_folders(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the records beneath any of `folders`, each file once; raises as :func:`read_records`."""
    records = {Path(record["path"]).resolve(): record for folder in folders for record in read_records(folder)}
    _check_precision(records.values())
    return list(records.values())


def _check_precision(records: Iterable[dict[str, Any]]) -> None:
    """Raise UserError for seeds of one setting in two precisions: `precision=auto` takes what the device has."""
    first: dict[tuple[Any, ...], dict[str, Any]] = {}
    for record in records:
        other = first.setdefault(tuple(record[name] for name in KEY if name != "seed"), record)
        if other.get("precision") != record.get("precision"):
            raise UserError(
                f"{other['path']} was trained in {other.get('precision')} and {record['path']}, of the same setting, "
                f"in {record.get('precision')}; move one away, and give precision= to both"
            )
