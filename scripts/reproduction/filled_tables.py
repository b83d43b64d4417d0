"""From the name of a table and the records to the filled table."""

from collections.abc import Sequence
from pathlib import Path

from scripts.reproduction.tables import Run, Table, load_table, table_runs
from smoothmix.config.run_directory import config_hash
from smoothmix.reporting.paper_tables import Filled, fill
from smoothmix.reporting.records import Found
from smoothmix.reporting.table_cells import TableCell
from smoothmix.utils.records import RunKey

ROOT = Path(__file__).resolve().parents[2]
PAPER = ROOT / "results" / "paper"
OF_THE_PAPER = [str(number) for number in range(1, 9)]


def file_name(name: str, preset: str) -> str:
    """Return what the files of a table are called, without their ending."""
    return (f"table{name}" if name in OF_THE_PAPER else name) + ("" if preset == "paper" else f"-{preset}")


def cells_of(table: Table, preset: str, overrides: Sequence[str] = ()) -> list[TableCell]:
    """Return the cells of a table; `overrides` were given to each of its runs, as in ``precision=bf16``."""
    runs = table_runs(table, preset, tuple(overrides))
    return [TableCell(run.row, _key(run), run.overrides, run.directory) for run in runs]


def filled_table(
    name: str,
    preset: str,
    cells: list[TableCell],
    found: Found,
    overrides: Sequence[str] = (),
    sources: Sequence[str] = ("files", "generate"),
) -> Filled:
    """Return the table `name`, its `cells` filled from the records that were `found`, on images from `sources`.

    Raises:
        UserError: there is no such table.
    """
    table = load_table(name)
    names = [table.evaluation.record_name(source) for source in sources] if table.evaluation else []
    corrupted = [record for record in found.corrupted if record.path.name in names]
    title = f"Table {name}: {table.title}" if name in OF_THE_PAPER else table.title
    if preset != "paper":
        title += f" ({preset} preset: scaled down, not the paper's recipe)"
    if overrides:
        title += f", with {' '.join(overrides)}"
    paper = PAPER / f"table{name}.csv" if name in OF_THE_PAPER else None
    source = sources[0] if len(sources) == 1 else table.source
    return fill(
        file_name(name, preset), title, table.evaluation, cells, found.runs, corrupted, paper,
        preset == "paper", source,
    )  # fmt: skip


def _key(run: Run) -> RunKey:
    config = run.config
    parts = [config.dataset.name, config.model.name, config.method, config.recipe.name]
    return RunKey(*parts, config_hash(config), config.seed)
