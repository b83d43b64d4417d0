"""From a table and its runs to a study in a folder, and back."""

from collections.abc import Sequence
from pathlib import Path

from scripts.reproduction.arguments import SOURCES
from scripts.reproduction.tables import Table, table_runs
from smoothmix.reporting import curves, figures, study, study_figures, study_page, verdicts
from smoothmix.reporting.records import read_folders
from smoothmix.utils.command import shell_command
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import write_text

NOTES = "notes.md"  # written by hand: departures from the plan, what the numbers do not show
PANELS = ("last_top1", "corrupted")  # of the figure of differences
CURVES = ("train_loss", "test_top1_error")


def read_study(table: Table, folders: Sequence[Path], overrides: Sequence[str], any_seed: bool) -> study.Study:
    """Return the study of `table` from runs beneath `folders`, or from the CSV files in the only one.

    Args:
        table: which.
        folders: of run directories, or one that :func:`write_study` wrote.
        overrides: that were given to each run.
        any_seed: take the runs of all seeds, not only of the table's.

    Raises:
        UserError: there is no such folder, or a record or file is damaged.
    """
    if len(folders) == 1 and (folders[0] / "runs.csv").is_file():
        return study.read(folders[0])
    if not folders:
        raise UserError("there is no folder outputs or results here; name the folder of the runs")
    cells, found = table_runs(table, overrides=overrides), read_folders(folders)
    if found.problems:
        raise UserError(found.problems[0])
    if any_seed:
        cells = study.every_seed(cells, found.runs)
    names = [table.evaluation.record_name(source) for source in SOURCES] if table.evaluation else []
    corrupted = [record for record in found.corrupted if record.path.name in names]
    return study.collect(cells, found.runs, corrupted)


def write_study(table: Table, found: study.Study, folder: Path) -> None:
    """Write frames, verdicts, figures and README.md, which includes notes.md and links other pages in the folder.

    Raises:
        UserError: the file system refuses, or there is no run.
    """
    rows = [row for row in table.rows if row in set(found.runs["row"])]
    if not rows:
        raise UserError(
            f"no run of table {table.name} was found; python scripts/reproduce.py table={table.name} runs them"
        )
    study.write(found, folder)
    found = study.read(folder)  # so that the files alone give the same pages
    judged = verdicts.judge(found.runs, table.claims)
    write_text(folder / "claims.csv", judged.to_csv(index=False, float_format="%.6g"))
    drawn = {}
    if len(rows) > 1:
        panels = [name for name in PANELS if found.runs[name].notna().any()]
        drawn["differences"] = study_figures.differences(found.runs, rows, panels)
    if not found.curves.empty:
        methods = found.runs.drop_duplicates("row").set_index("row")["method"]
        drawn["curves"] = curves.draw(found.curves, {row: methods[row] for row in rows}, CURVES)
    if rows[0] in set(found.corruptions["row"]):
        evaluated = [row for row in rows if row in set(found.corruptions["row"])]
        drawn["corruptions"] = study_figures.heat_map(found.corruptions, evaluated)
    for name, figure in drawn.items():
        figures.save(figure, folder / name)
    command = shell_command(["python", "scripts/claims.py", f"table={table.name}", folder, "--output", folder])
    made = f"Made by `{command}`; do not edit."
    claims = f"# Claims: {table.title}\n\n{made}\n\n{study_page.verdicts(judged, table.claims)}\n"
    write_text(folder / "claims.md", claims)
    notes = folder / NOTES
    more = [notes.read_text(encoding="utf-8").strip()] if notes.exists() else []
    own = {"README.md", "claims.md", "claims.csv", NOTES, *(f"{name}.csv" for name in found._fields)}
    others = sorted(path.name for path in folder.iterdir() if path.suffix in (".md", ".csv") and path.name not in own)
    more += [f"Beside this page: {', '.join(f'[{name}]({name})' for name in others)}."] if others else []
    write_text(folder / "README.md", _page(table, found, rows, list(drawn), [made, *more]))


def _page(table: Table, found: study.Study, rows: Sequence[str], drawn: Sequence[str], head: Sequence[str]) -> str:
    planned = {label: row.seeds or table.seeds for label, row in table.rows.items()}
    there = found.runs["row"].value_counts()
    missing = [
        f"{label} {there.get(label, 0)} of {seeds}" for label, seeds in planned.items() if there.get(label, 0) < seeds
    ]
    captions = {
        "differences": f"Mean paired difference to {rows[0]} with its 95 % interval; dots are single seeds.",
        "curves": "Means over seeds; the bands are one standard deviation to either side.",
        "corruptions": f"Mean error in % by corruption; the colour is the paired difference to {rows[0]}.",
    }
    parts = [
        f"# {table.title}",
        *head,
        f"Runs: {len(found.runs)} of {sum(planned.values())}" + (f"; missing: {', '.join(missing)}" if missing else ""),
        study_page.made_with(found),
        "## Results",
        "Mean ± sample standard deviation over seeds; differences are paired, with their 95 % interval.",
        study_page.results(found, rows),
        "The verdicts are in [claims.md](claims.md).",
        *(f"![{name}]({name}.svg)\n\n{captions[name]}" for name in drawn),
        "## Plan",
        f"`configs/table/{table.name}.yaml`: `{' '.join(table.overrides)}`, and for each row:",
        "\n".join(
            f"- {label}, {planned[label]} seeds: `{' '.join(row.overrides)}`" for label, row in table.rows.items()
        ),
    ]
    return "\n\n".join(parts) + "\n"
