"""From the name of a table and the records to the filled table."""

from collections.abc import Sequence
from pathlib import Path

from scripts.reproduction.arguments import SOURCES
from scripts.reproduction.tables import Run, Table
from smoothmix.reporting.paper_tables import Filled, fill
from smoothmix.reporting.records import Found

PAPER = Path(__file__).resolve().parents[2] / "results" / "paper"
OF_THE_PAPER = [str(number) for number in range(1, 9)]


def file_name(name: str, preset: str) -> str:
    """Return what the files of a table are called, without their ending."""
    return (f"table{name}" if name in OF_THE_PAPER else name) + ("" if preset == "paper" else f"-{preset}")


def filled_table(
    table: Table,
    preset: str,
    runs: Sequence[Run],
    found: Found,
    overrides: Sequence[str] = (),
    sources: Sequence[str] = SOURCES,
) -> Filled:
    """Return `table`, its `runs` filled from the records that were `found`, on corrupted images from `sources`."""
    names = [table.evaluation.record_name(source) for source in sources] if table.evaluation else []
    corrupted = [record for record in found.corrupted if record.path.name in names]
    title = f"Table {table.name}: {table.title}" if table.name in OF_THE_PAPER else table.title
    if preset != "paper":
        title += f" ({preset} preset: scaled down, not the paper's recipe)"
    if overrides:
        title += f", with {' '.join(overrides)}"
    paper = PAPER / f"table{table.name}.csv" if table.name in OF_THE_PAPER else None
    source = sources[0] if len(sources) == 1 else table.source
    return fill(
        name=file_name(table.name, preset), title=title, cells=runs, records=found.runs, corrupted=corrupted,
        evaluation=table.evaluation, paper=paper, compared=preset == "paper", source=source,
    )  # fmt: skip
