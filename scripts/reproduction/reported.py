"""What the report shows beside the records: tables, pictures of mixed batches, claims, the audit of the paper."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch.nn import functional as F

from datasets import digits
from datasets.corrupted_sets import CORRUPTED
from scripts.reproduction.arguments import TABLES
from scripts.reproduction.filled_tables import OF_THE_PAPER, PAPER, file_name, filled_table
from scripts.reproduction.tables import PRESETS, load_table, table_runs
from smoothmix.config import build
from smoothmix.config.run_directory import read
from smoothmix.config.schema import check
from smoothmix.evaluation.averages import corruptions_of
from smoothmix.reporting.audit import audit
from smoothmix.reporting.mask_figures import mixed_batch
from smoothmix.reporting.methods import name_of, place_of
from smoothmix.reporting.records import Found
from smoothmix.reporting.report import Contents, PaperTable
from smoothmix.reporting.table_cells import match
from smoothmix.utils.command import shell_command
from smoothmix.utils.errors import UserError
from smoothmix.utils.walk import find_files

IMAGES = 8  # of a picture
# of claims.csv
SHOWN = ("sentence", "source", "endpoint", "row", "to", "n", "effect", "low", "high", "p_holm", "verdict")


def contents(found: Found, args: Namespace, command: str, progress: Callable[[str], None]) -> Contents:
    """Return what the report shows beside the records that were `found`; `args` are those of scripts/make_report.py."""
    tables = []
    for preset in PRESETS:
        for name in sorted((path.stem for path in TABLES.glob("*.yaml")), key=lambda name: (len(name), name)):
            progress(f"table {name}")
            tables.append(_table(name, preset, found, args.overrides, args.sources))
    progress("mixed batches")
    return Contents(
        command=command,
        tables=[table for table in tables if table is not None],
        pictures=_pictures(found),
        claims=_claims(args.folders, found.problems),
        audit=audit(PAPER),
        corruptions={name: corruptions_of(benchmark.constants) for name, benchmark in CORRUPTED.items()},
    )


def _table(name: str, preset: str, found: Found, overrides: Sequence[str], sources: Sequence[str]) -> PaperTable | None:
    """Return the table `name`, with its content where it has a run; None for a preset's table without one."""
    table, of_paper = load_table(name), preset == "paper"
    if not of_paper and not any(record.recipe == preset for record in found.runs):
        return None
    arguments = [f"table={name}", *([] if of_paper else [f"preset={preset}"]), *overrides]
    of_benchmark = [record.path.name for record in found.corrupted if record.benchmark == table.benchmark]
    generated = list(sources) == ["generate"] or any("-generate" in file for file in of_benchmark)
    if table.benchmark and table.source == "files" and generated:
        arguments.append("source=generate")
    command = shell_command(["python", "scripts/reproduce.py", *arguments])
    runs = []
    # composing every row takes seconds: the first one tells whether there can be a run
    try:
        (first,) = table_runs(replace(table, rows=dict(list(table.rows.items())[:1])), preset, overrides, 1)
        kind = first.config.dataset.name, first.config.recipe.name
        if any((record.dataset, record.recipe) == kind for record in found.runs):
            runs = table_runs(table, preset, overrides)
    except UserError:
        if of_paper:
            raise
        return None  # its rows cannot be scaled down
    if match(found.runs, runs):
        content = filled_table(table, preset, runs, found, overrides, sources)
        keys = frozenset(run.key for run in runs)
        return PaperTable(content.name, content.title, content.runs[1], command, content, keys)
    title = f"Table {name}: {table.title}" if name in OF_THE_PAPER else table.title
    wanted = sum(row.seeds or table.seeds for row in table.rows.values())
    return PaperTable(file_name(name, preset), title, wanted, command) if of_paper else None


def _pictures(found: Found) -> dict[str, bytes]:
    """Return {name of a strategy: PNG} for the strategies of the runs that change images."""
    images, labels = digits().arrays("test")
    chosen = [int((labels == digit).nonzero()[0]) for digit in range(IMAGES)]
    ink = images[chosen].permute(0, 3, 1, 2).float() / 255
    colours = torch.tensor([[0.10, 0.25, 0.55], [0.75, 0.35, 0.05]]).repeat(IMAGES // 2, 1)
    clean = ink + (1 - ink) * colours[:, :, None, None]  # on a background, or the edge of a box would not show
    pictures: dict[str, bytes] = {}
    for record in sorted(found.runs, key=lambda record: place_of(record.method)):
        name = name_of(record.method)
        path = record.directory / "config.yaml"
        if name in pictures or not path.exists():
            continue
        try:
            config = check(read(path))
            side = int(config.dataset.options.get("image_size", clean.shape[-1]))
            batch = F.interpolate(clean, size=(side, side), mode="nearest")
            picture = mixed_batch(build.mixing(config, 10), batch, labels[chosen], "0123456789")
        except (UserError, TypeError, ValueError, RuntimeError):  # the strategy of another version of this program
            continue
        if picture is not None:
            pictures[name] = picture
    return pictures


def _claims(folders: Sequence[Path], problems: list[str]) -> dict[str, pd.DataFrame]:
    """Return {what made it: verdicts} of every claims.csv beneath the folders."""
    found = {}
    unreadable: list[str] = []  # the records' search has named these folders
    paths = [path for folder in folders for path in find_files(folder, "claims.csv", unreadable)]
    for path in sorted({path.resolve(): path for path in paths}.values()):
        try:
            frame = pd.read_csv(path, encoding="utf-8")
            if "verdict" in frame:  # the paper's own list of claims has none
                found[f"From {path}."] = frame[[column for column in SHOWN if column in frame]]
        except (OSError, ValueError) as error:
            problems.append(f"{path} is not a table of claims ({error}); make it again with scripts/claims.py")
    return found
