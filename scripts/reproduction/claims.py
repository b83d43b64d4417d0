"""Reading the `claims:` of a table's YAML file."""

from collections.abc import Collection
from dataclasses import fields
from typing import Any

from smoothmix.reporting.claims import DIRECTIONS, ENDPOINTS, Claim
from smoothmix.utils.errors import UserError, nearest

KEYS = ({field.name for field in fields(Claim)} | {"rows"}) - {"row", "to"}
KINDS = "direction: less (or greater), within: NUMBER, stable: true"


def read_claims(entries: Any, rows: Collection[str]) -> tuple[Claim, ...]:
    """Return the claims of a table with these `rows`, from the list of mappings in its file.

    Raises:
        UserError: a key is unknown or missing, a value is of the wrong kind, a row or endpoint does not exist, two
            claims have one id.
    """
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError("claims must be a list of mappings with id, sentence, source, rows, endpoint")
    claims = [_claim(entry, number, rows) for number, entry in enumerate(entries, 1)]
    ids = [claim.id for claim in claims]
    if twice := next((name for name in ids if ids.count(name) > 1), None):
        raise UserError(f"two claims have the id {twice}; give each its own")
    return tuple(claims)


def _claim(entry: dict[str, Any], number: int, rows: Collection[str]) -> Claim:
    name = f"claim {entry.get('id', f'number {number}')}"
    for key in entry:
        if key not in KEYS:
            raise UserError(f"{name}: unknown key {key}; {nearest(str(key), KEYS)}")
    for key in ("id", "sentence", "source", "rows", "endpoint"):
        if key not in entry:
            raise UserError(f"{name}: {key} is missing")
    for key in ("id", "sentence", "source", "endpoint"):
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise UserError(f"{name}: {key} must be text, not {entry[key]!r}")
    if entry["endpoint"] not in ENDPOINTS:
        raise UserError(f"{name}: unknown endpoint {entry['endpoint']}; {nearest(entry['endpoint'], ENDPOINTS)}")
    if sum(key in entry for key in ("direction", "within", "stable")) != 1:
        raise UserError(f"{name}: give exactly one of {KINDS}")
    if "direction" in entry and entry["direction"] not in DIRECTIONS:
        raise UserError(f"{name}: direction must be less or greater, not {entry['direction']!r}")
    for key in ("within", "margin"):
        if key in entry and not (_is_number(entry[key]) and entry[key] > 0):
            raise UserError(f"{name}: {key} must be a positive number, not {entry[key]!r}")
    if "margin" in entry and "direction" not in entry:
        raise UserError(f"{name}: margin belongs to direction; leave it out")
    if entry.get("stable", True) is not True or not isinstance(entry.get("primary", False), bool):
        raise UserError(f"{name}: stable must be true, and primary true or false")
    row, to = _rows(name, entry["rows"], rows)
    if "stable" in entry and isinstance(to, float):
        raise UserError(f"{name}: stable compares two rows, not a row and a number")
    return Claim(row=row, to=to, **{key: value for key, value in entry.items() if key != "rows"})


def _rows(name: str, given: Any, rows: Collection[str]) -> tuple[str, tuple[str, ...] | float]:
    """Return the row that a claim is about, and the rows or the number that it is compared to."""
    if not isinstance(given, list) or len(given) != 2:
        raise UserError(f"{name}: rows must be a row and another, several, or a number, as in [SmoothMix_C, CutMix]")
    row, to = given
    others = [] if _is_number(to) else to if isinstance(to, list) else [to]
    for other in [row, *others]:
        if other not in rows:
            raise UserError(f"{name}: there is no row {other}; {nearest(str(other), rows)}")
    if row in others or (not others and not _is_number(to)):
        raise UserError(f"{name}: a row must be compared to another one")
    return row, tuple(others) if others else float(to)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
