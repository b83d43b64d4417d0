"""From a table of the paper to the runs that fill it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from smoothmix.config import run_directory as run_dir
from smoothmix.config import schema
from smoothmix.utils.errors import UserError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
PRESETS = ("paper", *sorted(path.stem for path in (CONFIGS / "preset").glob("*.yaml")))


@dataclass(frozen=True)
class Run:
    """One training that a table needs: its row, its overrides on train.py's command line, where it lives."""

    row: str
    overrides: tuple[str, ...]
    config: dict[str, Any]
    directory: Path


@dataclass(frozen=True)
class Table:
    """A table: its name, its rows, how many seeds, and the corrupted benchmark that is evaluated, if any."""

    name: str
    title: str
    seeds: int
    rows: dict[str, str]
    benchmark: str | None = None


def load_table(name: str) -> Table:
    """Return the table of configs/table/.

    Raises:
        UserError: there is none of this name.
    """
    choices = sorted(path.stem for path in (CONFIGS / "table").glob("*.yaml"))
    if name not in choices:
        raise UserError(f"there is no table {name}; there is {', '.join(choices)}")
    return Table(name=name, **yaml.safe_load((CONFIGS / "table" / f"{name}.yaml").read_text()))


def table_runs(
    table: Table, preset: str = "paper", overrides: tuple[str, ...] = (), seeds: int | None = None
) -> list[Run]:
    """Return the runs that fill `table`, row by row and seed by seed.

    Args:
        table: which.
        preset: "paper", or one of configs/preset/, which scales every run down.
        overrides: added to every command line, such as ``dataset.root=/data`` and ``output=results``.
        seeds: instead of the table's or the preset's own number.

    Raises:
        UserError: an unknown preset, or overrides that train.py would refuse.
    """
    if preset not in PRESETS:
        raise UserError(f"there is no preset {preset}; there is {', '.join(PRESETS)}")
    scaled = {} if preset == "paper" else yaml.safe_load((CONFIGS / "preset" / f"{preset}.yaml").read_text())
    count = seeds or scaled.get("seeds", table.seeds)
    runs = []
    for row, choice in table.rows.items():
        of_row = [choice]
        if scaled:
            of_row += scaled["overrides"][_compose(of_row)["dataset"]["name"]]
        of_row += overrides
        config = _compose(of_row)
        for seed in range(count):
            seeded = {**config, "seed": seed}
            runs.append(Run(row, (*of_row, f"seed={seed}"), seeded, run_dir.run_directory(seeded)))
    return runs


def _compose(overrides: list[str]) -> dict[str, Any]:
    from smoothmix.config.command_line import sentence

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        try:
            composed = compose("train", list(overrides))
        except Exception as error:  # Hydra's own: about the overrides
            raise UserError(sentence(error)) from error
    return schema.check(composed)
