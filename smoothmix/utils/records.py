"""Records: what runs leave as JSON. Every value is checked on reading; damaged and hand-made ones are refused."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self, TypeVar, get_args, get_origin, get_type_hints

from smoothmix.utils.environment import environment_of
from smoothmix.utils.errors import UserError, unreadable
from smoothmix.utils.files import read_object, write_text

# ---- what the values of a file must be before anyone counts with them


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


def is_epoch(value: Any) -> bool:
    """Whether `value` is the metrics of an epoch whose test errors are known."""
    return (
        isinstance(value, dict)
        and all(map(is_float, value.values()))
        and all(is_percentage(value.get(f"test_top{k}_error")) for k in (1, 5))
    )


def is_list_of_objects(value: Any) -> bool:
    """Whether `value` is a list of JSON objects."""
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


# ---- records

Name = Annotated[str, is_name]
Count = Annotated[int, is_count]
Flag = Annotated[bool, lambda value: type(value) is bool]
Loss = Annotated[float, is_loss]
Percentage = Annotated[float, is_percentage]
Epoch = Annotated[dict[str, float], is_epoch]
Split = Annotated[str, lambda value: value in ("test", "val")]
Starts = Annotated[list[dict[str, Any]], is_list_of_objects]
Sizes = Annotated[list[int], lambda value: isinstance(value, list) and value != [] and all(map(is_count, value))]


class RunKey(NamedTuple):
    """What tells one run from another."""

    dataset: str
    model: str
    method: str
    recipe: str
    config_hash: str
    seed: int | None


@dataclass(frozen=True, kw_only=True)
class Record:
    """What every record says: whose run it is.

    Published weights have neither `seed` nor `epochs`. `starts` says when, where and by what the work was begun and
    resumed (:func:`smoothmix.utils.environment.start`); the file repeats the first at its top level. `extra` holds
    the other keys of the file, as they are; `path` is where the record was read from.
    """

    dataset: Name
    model: Name
    method: Name
    recipe: Name
    config_hash: Name
    seed: Count | None
    epochs: Count | None
    starts: Starts = field(default_factory=list)
    extra: dict[str, object] = field(default_factory=dict)
    path: Path = field(default=Path(), compare=False)

    WHAT: ClassVar[str] = "a record; move it away"

    @classmethod
    def parse(cls, content: dict[str, Any], path: Path = Path()) -> Self:
        """Return the record that a JSON object is.

        Raises:
            ValueError: a key is missing, or its value cannot be.
        """
        known = cls._fields()
        needed = {one.name for one in fields(cls) if one.default is one.default_factory is MISSING}
        for name, kind in known.items():
            if (name in content or name in needed) and not _is_of(kind, content.get(name, MISSING)):
                raise ValueError(f"{name} is missing or wrong")
        made = environment_of(content)  # of the first start
        starts = content.get("starts") or ([made] if made else [])
        extra = {name: value for name, value in content.items() if name not in known and name not in made}
        given = {name: content[name] for name in known if name in content}
        return cls(**{**given, "starts": starts}, extra=extra, path=path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the record in the file `path`.

        Raises:
            UserError: it cannot be read, or is damaged.
        """
        try:
            return cls.parse(read_object(path), path)
        except OSError as error:
            raise unreadable(path, error) from error
        except ValueError as error:
            raise UserError(f"{path} is not {cls.WHAT} ({error})") from error

    def write(self, path: Path) -> None:
        """Write the record to the file `path`, whole or not at all.

        Raises:
            UserError: the file system refuses.
        """
        made = environment_of(self.starts[0]) if self.starts else {}
        content = {name: getattr(self, name) for name in self._fields()} | self.extra | made
        write_text(path, json.dumps(content, indent=2) + "\n")

    @property
    def key(self) -> RunKey:
        """What tells the run from another."""
        return RunKey(self.dataset, self.model, self.method, self.recipe, self.config_hash, self.seed)

    def fact(self, name: str) -> Any:
        """Return the value of a key of the file, None if there is none; what differs between starts is of the first."""
        if name in self._fields():
            return getattr(self, name)
        return self.extra.get(name, self.starts[0].get(name) if self.starts else None)

    @property
    def device(self) -> str | None:
        """On which the work was begun, None if the record does not say."""
        device = self.fact("device")
        return device if is_name(device) else None

    @property
    def directory(self) -> Path:
        """The run directory that the record lies in."""
        return self.path.parent

    @classmethod
    def _fields(cls) -> dict[str, Any]:
        """Return {field of the file: its type}."""
        hints = get_type_hints(cls, include_extras=True)
        return {one.name: hints[one.name] for one in fields(cls) if one.name not in ("extra", "path")}


def _is_of(kind: Any, value: Any) -> bool:
    """Whether a value of a file is of the type `kind`: an annotated one, or a union of one and None."""
    if get_origin(kind) is Annotated:
        return bool(kind.__metadata__[0](value))
    return value is None or any(_is_of(one, value) for one in get_args(kind))


AnyRecord = TypeVar("AnyRecord", bound=Record)


@dataclass(frozen=True, kw_only=True)
class RunRecord(Record):
    """What a finished run leaves in ``summary.json``.

    `best` and `last` are the metrics of two epochs (errors in %), `best` that of the lowest error on `selected_on`;
    `seconds` is the time of all epochs, evaluation included. What an old record does not say is None.
    """

    WHAT: ClassVar[str] = "a run record; move it away or run that run again"

    seed: Count
    epochs: Count
    best: Epoch
    last: Epoch
    selected_on: Split = "test"
    seconds: Loss | None = None
    precision: Name | None = None
    channels_last: Flag | None = None
    step: Name | None = None
    world_sizes: Sizes | None = None
    data_fingerprint: Name | None = None

    def error(self, when: str, k: int = 1) -> float:
        """Return the top-`k` test error in % of the "best" or the "last" epoch."""
        return {"best": self.best, "last": self.last}[when][f"test_top{k}_error"]
