"""From a table of the paper to the runs that fill it."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from typing import Any

import yaml

from datasets.corrupted_sets import find_set
from smoothmix.config.command_line import CONFIGS, compose
from smoothmix.config.run_directory import config_hash, run_directory
from smoothmix.config.schema import RunConfig, check
from smoothmix.evaluation.averages import corruptions_of
from smoothmix.evaluation.corrupted import CorruptedEvaluation
from smoothmix.reporting.claims import DIRECTIONS, ENDPOINTS, Claim
from smoothmix.reporting.tables import TableCell
from smoothmix.utils.errors import UserError, nearest
from smoothmix.utils.files import is_small, read_text
from smoothmix.utils.records import RunKey

SOURCES = ("files", "generate")  # of corrupted images
MOST_SEEDS = 1000
KINDS = "direction: less (or greater), within: NUMBER, stable: true, trend: {NUMBER: [ROW, ROW]}"
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

    `overrides` are common to all rows; `claims` are judged by scripts/report.py. `weights` ("best" or "last") are
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


def table_names() -> list[str]:
    """Return the names of the tables in configs/table/, the paper's first."""
    return sorted((path.stem for path in (CONFIGS / "table").glob("*.yaml")), key=lambda name: (len(name), name))


def load_table(name: str) -> Table:
    """Return the table of configs/table/.

    Raises:
        UserError: there is none of this name, or its file is wrong.
    """
    if name not in table_names():
        raise UserError(f"there is no table {name}; {nearest(name, table_names())}")
    path = CONFIGS / "table" / f"{name}.yaml"
    try:
        return read_table(name, yaml.safe_load(read_text(path)))
    except (UserError, OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"{path.relative_to(CONFIGS.parent)}: {reason}") from error


def read_table(name: str, content: Any) -> Table:
    """Return the table `name` with the `content` of its file.

    Raises:
        UserError: a key is unknown or missing, or a value is wrong.
    """
    if not isinstance(content, dict):
        raise UserError("it should be a mapping with title, seeds, rows")
    if not is_small(content):
        raise UserError("it has more than 1,000 values in a list, or is nested more than 16 deep")
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
    claims = _claims(content.get("claims", []), rows)
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
    if type(value) is not int or not 1 <= value <= MOST_SEEDS:
        raise UserError(f"seeds of {place} must be a positive number up to {MOST_SEEDS}, not {value!r}")
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
        if not config.recipe.epochs:  # it would be another run directory
            raise UserError(f"recipe={config.recipe.name} chooses by the images; give recipe.epochs and batch_size")
        names = config.dataset.name, config.model.name, config.method, config.recipe.name, config_hash(config)
        for seed in range(seeds or scaled.get("seeds", row.seeds or table.seeds)):
            seeded = replace(config, seed=seed)
            overrides_of_run = (*of_row, f"seed={seed}")
            runs.append(Run(label, RunKey(*names, seed), overrides_of_run, run_directory(seeded), seeded))
    return runs


@cache  # tables have rows in common, and to compose one takes a tenth of a second
def _checked(*overrides: str) -> RunConfig:
    return check(compose("train", overrides))


def _claims(entries: Any, rows: Collection[str]) -> tuple[Claim, ...]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError("claims must be a list of mappings with id, sentence, source, rows, endpoint")
    named = [(entry, f"claim {entry.get('id', f'number {place}')}") for place, entry in enumerate(entries, 1)]
    claims = [_claim(entry, name, rows) for entry, name in named]
    ids = [claim.id for claim in claims]
    if twice := next((name for name in ids if ids.count(name) > 1), None):
        raise UserError(f"two claims have the id {twice}; give each its own")
    return tuple(claims)


def _claim(entry: dict[str, Any], name: str, rows: Collection[str]) -> Claim:
    """Return the claim that a mapping describes; raise UserError for a key or a value that cannot be."""
    known = {field.name for field in fields(Claim)} - {"row", "to"} | {"rows"}
    for key in entry:
        if key not in known:
            raise UserError(f"{name}: unknown key {key}; {nearest(str(key), known)}")
    for key in ("id", "sentence", "source", "endpoint"):
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise UserError(f"{name}: {key} must be text, not {entry.get(key)!r}")
    if entry["endpoint"] not in ENDPOINTS:
        raise UserError(f"{name}: unknown endpoint {entry['endpoint']}; {nearest(entry['endpoint'], ENDPOINTS)}")
    if sum(key in entry for key in ("direction", "within", "stable", "trend")) != 1:
        raise UserError(f"{name}: give exactly one of {KINDS}")
    if entry.get("direction", "less") not in DIRECTIONS:
        raise UserError(f"{name}: direction must be less or greater, not {entry['direction']!r}")
    for key in ("within", "margin"):
        if key in entry and not (type(entry[key]) in (int, float) and entry[key] > 0):
            raise UserError(f"{name}: {key} must be a positive number, not {entry[key]!r}")
    if "margin" in entry and "direction" not in entry:
        raise UserError(f"{name}: margin belongs to direction; leave it out")
    if entry.get("stable", True) is not True or not isinstance(entry.get("primary", False), bool):
        raise UserError(f"{name}: stable must be true, and primary true or false")
    if "trend" in entry:
        return Claim(**(entry | {"trend": _trend(name, entry, rows)}))
    row, to = entry["rows"] if isinstance(entry.get("rows"), list) and len(entry["rows"]) == 2 else (None, None)
    is_number = type(to) in (int, float) and "stable" not in entry
    others = () if is_number else tuple(to) if isinstance(to, list) else (to,)
    if row in others or not (others or is_number):
        raise UserError(f"{name}: rows must be a row and another, several, or a number, as in [SmoothMix_C, CutMix]")
    _check_rows(name, (row, *others), rows)
    rest = {key: value for key, value in entry.items() if key != "rows"}
    return Claim(row=str(row), to=float(to) if is_number else others, **rest)


def _trend(name: str, entry: dict[str, Any], rows: Collection[str]) -> dict[float, tuple[str, str]]:
    given = entry["trend"]
    pairs = list(given.values()) if isinstance(given, dict) else []
    positive = all(type(key) in (int, float) and key > 0 for key in given) if pairs else False
    whole = all(isinstance(pair, list) and len(pair) == 2 for pair in pairs)
    if "rows" in entry or len(pairs) < 2 or not positive or not whole:
        raise UserError(f"{name}: trend must have two or more numbers, each with two rows, in the place of rows")
    _check_rows(name, [row for pair in pairs for row in pair], rows)
    return {float(key): (row, other) for key, (row, other) in given.items()}


def _check_rows(name: str, given: Sequence[Any], rows: Collection[str]) -> None:
    for row in given:
        if row not in rows:
            raise UserError(f"{name}: there is no row {row}; {nearest(str(row), rows)}")
