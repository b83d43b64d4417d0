"""Commands as text that can be pasted into bash and zsh, and overrides that Hydra reads as they are meant."""

import re
import shlex
from collections.abc import Iterable

PLAIN = re.compile(r"[A-Za-z_][\w-]*|[\w.+-]*/[\w./+-]*", re.ASCII)  # a name or a path, without quotes
NOT_TEXT = {"null", "true", "false", "nan", "inf"}


def override(key: str, value: str) -> str:
    """Return ``key=value``, an argument by which Hydra sets `key` to the text `value`, whatever characters it has."""
    if PLAIN.fullmatch(value) and value.lower() not in NOT_TEXT:
        return f"{key}={value}"
    escaped = re.sub(r'(\\*)(?="|$)', r"\1\1", value).replace('"', r"\"").replace("${", r"\${")
    return f'{key}="{escaped}"'


def shell_command(arguments: Iterable[object]) -> str:
    """Return the line that a user types to run `arguments`."""
    return shlex.join(map(str, arguments))
