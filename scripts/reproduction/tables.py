"""From a table of the paper to the runs that fill it."""

import shlex
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from typing import Any

import yaml

from datasets.corrupted_sets import find_set
from scripts.reproduction.arguments import SOURCES
from scripts.reproduction.claims import read_claims
from smoothmix.config.command_line import CONFIGS, compose
from smoothmix.config.run_directory import config_hash, run_directory
from smoothmix.config.schema import RunConfig, check
from smoothmix.evaluation.averages import corruptions_of
from smoothmix.evaluation.corrupted import CorruptedEvaluation
from smoothmix.reporting.claims import Claim
from smoothmix.reporting.table_cells import TableCell
from smoothmix.utils.errors import UserError, nearest
from smoothmix.utils.records import RunKey

PRESETS = ("paper", *sorted(path.stem for path in (CONFIGS / "preset").glob("*.yaml")))


@dataclass(frozen=True, eq=False)
class Run(TableCell):
    """One training that a table needs, with its configuration."""

    config: RunConfig


@dataclass(frozen=True)
class Row:
    """The overrides that a row adds to the table's, and its own number of seeds, if it has one."""

    overrides: tuple[str, ...]
    seeds: int | None = None


@dataclass(frozen=True)
class Table:
    """A table: its name, its rows, how many seeds, and the corrupted benchmark that is evaluated, if any.

    `overrides` are common to all rows; `claims` are judged by scripts/claims.py. `weights` ("best" or "last") are
    evaluated on all images of the benchmark, or on a subset of this many `images`, which are in files or generated
    (`source`).
    """

    name: str
    title: str
    seeds: int
    rows: dict[str, Row]
    benchmark: str | None = None
    weights: str = "best"
    images: int | None = None
    source: str = "files"
    overrides: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()

    @property
    def evaluation(self) -> CorruptedEvaluation | None:
        """What is evaluated on corrupted images after each training, if anything."""
        if self.benchmark is None:
            return None
        corruptions = corruptions_of(find_set(self.benchmark).constants)
        return CorruptedEvaluation(self.benchmark, tuple(corruptions), self.weights, self.images)


def load_table(name: str) -> Table:
    """Return the table of configs/table/.

    Raises:
        UserError: there is none of this name, or its file is wrong.
    """
    choices = sorted(path.stem for path in (CONFIGS / "table").glob("*.yaml"))
    if name not in choices:
        raise UserError(f"there is no table {name}; {nearest(name, choices)}")
    path = CONFIGS / "table" / f"{name}.yaml"
    try:
        return read_table(name, yaml.safe_load(path.read_text(encoding="utf-8")))
    except UserError as error:
        raise UserError(f"{path.relative_to(CONFIGS.parent)}: {error}") from error


def read_table(name: str, content: Any) -> Table:
    """Return the table `name` with the `content` of its file.

    Raises:
        UserError: a key is unknown or missing, or a value is wrong.
    """
    if not isinstance(content, dict):
        raise UserError("it should be a mapping with title, seeds, rows")
    known = [field for field in fields(Table) if field.name != "name"]
    for key in content:
        if key not in {field.name for field in known}:
            raise UserError(f"unknown key {key}; {nearest(str(key), (field.name for field in known))}")
    for field in known:
        if field.name not in content and field.default is MISSING:
            raise UserError(f"{field.name} is missing")
    if not isinstance(content["rows"], dict) or not content["rows"]:
        raise UserError("rows should be a mapping from each row's label to its overrides")
    if (weights := content.get("weights", "best")) not in ("best", "last"):
        raise UserError(f"weights must be best or last, not {weights!r}")
    check_source(content.get("source", "files"))
    if (images := content.get("images")) is not None and not (type(images) is int and images > 0):
        raise UserError(f"images must be a number of test images, not {images!r}")
    common = content.get("overrides", [])
    if not isinstance(common, list) or not all(isinstance(override, str) for override in common):
        raise UserError("overrides should be a list of overrides of train.py")
    rows = {label: _row(label, entry) for label, entry in content["rows"].items()}
    claims = read_claims(content.get("claims", []), rows)
    read = {"seeds": _seeds("the table", content["seeds"]), "rows": rows, "overrides": tuple(common), "claims": claims}
    return Table(name=name, **(content | read))


def check_source(source: object) -> None:
    """Raise a `UserError` if corrupted images cannot come from `source`."""
    if source not in SOURCES:
        raise UserError(f"source must be files or generate, not {source!r}")


def _row(label: str, entry: Any) -> Row:
    given = {"overrides": entry} if isinstance(entry, str) else entry
    known = isinstance(given, dict) and given.keys() <= {"overrides", "seeds"}
    if not known or not isinstance(given.get("overrides"), str):
        raise UserError(f"row {label} should be its overrides in one line, or a mapping of overrides and seeds")
    seeds = _seeds(f"row {label}", given["seeds"]) if "seeds" in given else None
    return Row(tuple(shlex.split(given["overrides"])), seeds)


def _seeds(place: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise UserError(f"seeds of {place} must be a positive number, not {value!r}")
    return value


def table_runs(
    table: Table, preset: str = "paper", overrides: Sequence[str] = (), seeds: int | None = None
) -> list[Run]:
    """Return the runs that fill `table`, row by row and seed by seed.

    Args:
        table: which.
        preset: "paper", or one of configs/preset/, which scales every run down.
        overrides: added to every command line, such as ``dataset.root=/data`` and ``output=results``.
        seeds: instead of the table's, the row's or the preset's own number.

    Raises:
        UserError: an unknown preset, or overrides that train.py would refuse.
    """
    if preset not in PRESETS:
        raise UserError(f"there is no preset {preset}; {nearest(preset, PRESETS)}")
    path = CONFIGS / "preset" / f"{preset}.yaml"
    scaled = {} if preset == "paper" else yaml.safe_load(path.read_text(encoding="utf-8"))
    runs = []
    for label, row in table.rows.items():
        of_row = [*table.overrides, *row.overrides]
        if scaled:
            of_row += scaled["overrides"][_checked(*of_row).dataset.name]
        of_row += overrides
        config = _checked(*of_row)
        names = config.dataset.name, config.model.name, config.method, config.recipe.name, config_hash(config)
        for seed in range(seeds or scaled.get("seeds", row.seeds or table.seeds)):
            seeded = replace(config, seed=seed)
            overrides_of_run = (*of_row, f"seed={seed}")
            runs.append(Run(label, RunKey(*names, seed), overrides_of_run, run_directory(seeded), seeded))
    return runs


@cache  # tables have rows in common, and to compose one takes a tenth of a second
def _checked(*overrides: str) -> RunConfig:
    return check(compose("train", overrides))
