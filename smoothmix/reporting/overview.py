"""The index of the tables."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from smoothmix.reporting.markup import markdown
from smoothmix.reporting.paper_tables import Filled


def overview(tables: Sequence[Filled], ignored: Mapping[str, int], folder: Path, readme: Path, command: str) -> str:
    """Return the index.

    Args:
        tables: what it lists.
        ignored: {reason: how many} records that no table uses.
        folder: where their files are.
        readme: where the index will be.
        command: what makes all of it.
    """
    place = os.path.relpath(folder, readme.parent)
    body = []
    for table in tables:
        if (folder / f"{table.name}.md").exists():
            files = " ".join(f"[{kind}]({place}/{table.name}.{kind})" for kind in ("md", "tex", "csv"))
        else:
            files = f"`python scripts/reproduce.py table={table.name.removeprefix('table')}`"
        full = sum(n == wanted for n, wanted in table.counts)
        runs = "{} of {}".format(*table.runs)
        body.append([table.title, f"{full} of {len(table.counts)}", runs, files])
    others = sorted(readme.parent.glob("*/README.md"))
    parts = [
        "# Results",
        f"Made by `{command}`, from the records of finished runs and the paper's numbers; do not edit.",
        "A row is complete when all of its seeds are there. A run counts in every table that has its row. A page "
        "lists the commands for missing runs; a table without runs has no page, only the command that fills it.",
        markdown(pd.DataFrame(body, columns=["table", "complete rows", "runs", "files"])),
        ignored_line(ignored),
    ]
    if others:
        parts += ["Other measurements:", "\n".join(_entry(path) for path in others)]
    return "\n\n".join(parts) + "\n"


def ignored_line(ignored: Mapping[str, int]) -> str:
    """Return how many records were not used, and why."""
    if not ignored:
        return "No record was ignored."
    reasons = ", ".join(f"{count} of {reason}" for reason, count in ignored.items())
    total = sum(ignored.values())
    return f"{total} record{'s' if total > 1 else ''} of no row of these tables ignored: {reasons}."


def _entry(path: Path) -> str:
    heading = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    return f"- [{heading}]({path.parent.name}/README.md)"
