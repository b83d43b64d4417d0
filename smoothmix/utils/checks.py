"""What the values of a file must be before anyone counts with them."""

import itertools
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

BRANCH = (dict, list, tuple, set)


def parse_object(text: str) -> dict[str, Any]:
    """Return the JSON object that `text` is.

    Raises:
        ValueError: it is no JSON, or another kind of value.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"it is a {type(content).__name__}, not an object")
    return content


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in the file `path`.

    Raises:
        ValueError: the file holds anything else.
        OSError: it cannot be read.
    """
    return parse_object(path.read_text(encoding="utf-8"))


def is_small(values: Any, depth: int = 16, most: int = 1000) -> bool:
    """Whether nested lists and dicts have at most `depth` levels of at most `most` values each.

    A file of a few bytes can hold a list of itself: what walks through all its values, as repr does, never ends.
    """
    level = [values]
    for _ in range(depth):
        branches = (v.values() if isinstance(v, dict) else v for v in level if isinstance(v, BRANCH))
        level = list(itertools.islice(itertools.chain.from_iterable(branches), most + 1))
        if not level or len(level) > most:
            break
    return not level


def is_object(value: Any) -> bool:
    """Whether `value` is a JSON object."""
    return isinstance(value, dict)


def is_name(value: Any) -> bool:
    """Whether `value` is a text of one line that is not empty."""
    return isinstance(value, str) and value != "" and value.isprintable()


def is_count(value: Any) -> bool:
    """Whether `value` is a whole number from 0 on."""
    return type(value) is int and 0 <= value < 2**63


def is_number(value: Any) -> bool:
    """Whether `value` is a finite number."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def is_float(value: Any) -> bool:
    """Whether `value` is a number; unlike a count, what was measured may be infinite or NaN."""
    return type(value) is float or is_number(value)


def is_percentage(value: Any) -> bool:
    """Whether `value` is a number in [0, 100]."""
    return is_number(value) and 0 <= value <= 100


def is_loss(value: Any) -> bool:
    """Whether `value` is a finite number from 0 on."""
    return is_number(value) and value >= 0


def wrong_key(record: Mapping[str, Any], rules: Mapping[str, Callable[[Any], bool]]) -> str | None:
    """Return the first key of `rules` that `record` lacks or whose value breaks its rule, or None."""
    return next((key for key, holds in rules.items() if key not in record or not holds(record[key])), None)
