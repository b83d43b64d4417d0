"""Which record fills which cell of a table: by what was run, never by where the record lies."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothmix.reporting.records import KEY
from smoothmix.utils.errors import UserError


@dataclass(frozen=True)
class Cell:
    """One seed of one row: the `key` of its run (as `records.KEY`), its overrides, the directory it would have."""

    row: str
    key: tuple[Any, ...]
    overrides: tuple[str, ...]
    directory: Path


def key_of(record: dict[str, Any]) -> tuple[Any, ...]:
    """Return what tells the run of a record from another."""
    return tuple(record.get(name) for name in KEY)


def match(records: Iterable[dict[str, Any]], cells: Sequence[Cell]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return {key: record} for the cells that have a record; of identical copies, the first.

    Raises:
        UserError: two records of one cell have different results (both files are named).
    """
    wanted = {cell.key for cell in cells}
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for record in records:
        key = key_of(record)
        if key not in wanted:
            continue
        first = found.setdefault(key, record)
        if _results(first) != _results(record):
            raise UserError(
                f"{first['path']} and {record['path']} are records of the same run ({record['method']}, seed "
                f"{record['seed']}) with different results; move one of them away"
            )
    return found


def left_aside(records: Iterable[dict[str, Any]], cells: Sequence[Cell]) -> dict[str, int]:
    """Return {reason: how many} of the records that are of none of the cells."""
    reasons = (reason_aside(record, cells) for record in records)
    return dict(Counter(reason for reason in reasons if reason is not None))


def reason_aside(record: dict[str, Any], cells: Sequence[Cell]) -> str | None:
    """Return why a record is of none of the cells, or None where it is of one."""
    wanted = [dict(zip(KEY, cell.key, strict=True)) for cell in cells]
    if key_of(record) in {cell.key for cell in cells}:
        return None
    for name in ("recipe", "dataset", "model", "method"):
        wanted = [key for key in wanted if key[name] == record[name]]
        if not wanted:
            return f"{name} {record[name]}"
    if record["config_hash"] not in {key["config_hash"] for key in wanted}:
        return f"recipe {record['recipe']} with other settings than the table's"
    return f"seed {record['seed']}"


def _results(record: dict[str, Any]) -> Any:
    if "top1_errors" in record:  # of corrupted images
        return record["top1_errors"]
    return [record[when][f"test_top{k}_error"] for when in ("best", "last") for k in (1, 5)]
