"""The tables of the paper, filled from records, and their index."""

import math
import os
import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from smoothmix.evaluation.averages import means
from smoothmix.evaluation.corrupted import CorruptedEvaluation
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.reporting import corruption_tables, markup, row_tables
from smoothmix.reporting.mean import interval
from smoothmix.reporting.methods import name_of
from smoothmix.reporting.table_cells import TableCell, evaluation_command, match, train_command
from smoothmix.utils.command import shell_command
from smoothmix.utils.records import RunKey, RunRecord

BY_CATEGORY = {"imagenet_c"}  # Table 5 averages the categories, Table 4 the corruptions


@dataclass(frozen=True)
class Filled:
    """A filled table: what the file is called, its title, all numbers, the text of its cells, and what stands below.

    `commands` are (row, command) of all that is missing; `with_commands` is the text with them in the cells that lack
    seeds, None where the rows of configs/table/ are columns and the cells too small for them. `counts` are (seeds that
    are there, seeds wanted) of each row.
    """

    name: str
    title: str
    numbers: pd.DataFrame
    text: pd.DataFrame
    with_commands: pd.DataFrame | None
    notes: list[str]
    commands: list[tuple[str, str]]
    counts: list[tuple[int, int]]

    @property
    def runs(self) -> tuple[int, int]:
        """How many runs are there, and how many are wanted."""
        return sum(n for n, _ in self.counts), sum(wanted for _, wanted in self.counts)

    def markdown(self) -> str:
        """Return the page of the table."""
        table = self.text if self.with_commands is None else self.with_commands
        parts = [f"# {self.title}", markup.markdown(table), *self.notes]
        if self.commands and self.with_commands is None:
            listed = "\n".join(f"{command}    # {row}" for row, command in self.commands)
            parts += ["Still to run:", f"```sh\n{listed}\n```"]
        return "\n\n".join(parts) + "\n"

    def latex(self) -> str:
        """Return the table for a paper; the commands stand behind it."""
        still = [f"To run for {row}: `{command}`" for row, command in self.commands]
        caption = re.sub(r"^Table (\d): (.*)", r"\2 (Table \1 of the paper)", self.title)  # LaTeX counts its own
        return markup.latex(self.text, caption, f"tab:{self.name}", self.notes, still)

    def csv(self) -> str:
        """Return all numbers, four decimals."""
        return str(self.numbers.to_csv(index=False, float_format="%.4f", lineterminator="\n"))


@dataclass(frozen=True)
class _Seed:
    """A cell with its records, and whether they are all there and complete."""

    cell: TableCell
    run: RunRecord | None
    corrupted: CorruptionRecord | None
    done: bool


def fill(
    *,
    name: str,
    title: str,
    cells: Sequence[TableCell],
    records: Sequence[RunRecord],
    corrupted: Sequence[CorruptionRecord],
    evaluation: CorruptedEvaluation | None,
    paper: Path | None,
    compared: bool,
    source: str,
) -> Filled:
    """Return the table `name`.

    Args:
        name: of its files.
        title: its heading.
        cells: every training that it needs.
        records: of runs; those of no cell are not used.
        corrupted: records of this evaluation, from published files or generated images.
        evaluation: what is evaluated on corrupted images, if anything.
        paper: the file with the paper's rows, or None for a table of our own.
        compared: whether the paper's numbers are shown: not beside runs that were scaled down.
        source: where commands take corrupted images from, "files" or "generate", if no record tells.
    """
    found = match(records, cells)
    evaluated, notes = _choose(corrupted, cells, found, evaluation) if evaluation else ({}, [])
    if evaluated:
        source = "generate" if any("-generate" in record.path.name for record in evaluated.values()) else "files"
    rows: dict[str, list[_Seed]] = {}
    for cell in cells:
        run, errors = found.get(cell.key), evaluated.get(cell.key)
        missing = evaluation.missing(errors.top1_errors if errors else {}) if evaluation else []
        rows.setdefault(cell.row, []).append(_Seed(cell, run, errors, done=run is not None and not missing))
    training, evaluating = {}, {}
    for row, seeds in rows.items():
        untrained = [seed.cell for seed in seeds if seed.run is None]
        training[row] = [train_command(untrained)] if untrained else []
        # where cells hold commands, what is not trained yet has its command in the first one
        here = [seed for seed in seeds if not seed.done and (paper or seed.run)]
        evaluating[row] = [_evaluate(seed, evaluation, source) for seed in here] if evaluation else []
    counts = {row: (sum(seed.done for seed in seeds), len(seeds)) for row, seeds in rows.items()}

    with_commands = None
    if evaluation and paper:
        numbers = _corrupted_numbers(rows, evaluation, paper, compared)
        todo = {(name_of(row), ""): training[row] + evaluating[row] for row in rows}
        of_method = {row: " && ".join(training[row] + evaluating[row]) for row in rows}
        numbers = numbers.assign(command=numbers["method"].map(of_method))
        text = corruption_tables.text(numbers)
        notes = [*_about_corrupted(numbers, counts, compared), *notes]
    else:
        todo = {(row, "top1"): lines for row, lines in training.items()}
        if evaluation:
            todo |= {(row, "corrupted"): lines for row, lines in evaluating.items()}
            names = f"{len(evaluation.corruptions)} corruptions and their five severities"
            notes.append(f"corrupted: mean top-1 error over {names}.")
        if splits := {seed.run.selected_on for seeds in rows.values() for seed in seeds if seed.run}:
            notes.append(f"The best epoch was chosen on: {', '.join(sorted(splits))}.")
        command = {place: " && ".join(lines) for place, lines in todo.items() if lines}
        numbers = _numbers(rows, evaluation, paper, compared)
        numbers = numbers.assign(command=[command.get((line.row, line.metric), "") for line in numbers.itertuples()])
        text, with_commands = row_tables.text(numbers, {}), row_tables.text(numbers, command)
        notes = [*_about(numbers), *notes]
    listed = [(row, line) for (row, _), lines in todo.items() for line in lines]
    return Filled(name, title, numbers, text, with_commands, notes, listed, list(counts.values()))


def _choose(
    corrupted: Sequence[CorruptionRecord],
    cells: Sequence[TableCell],
    trained: Container[RunKey],
    evaluation: CorruptedEvaluation,
) -> tuple[dict[RunKey, CorruptionRecord], list[str]]:
    """Return the records of `corrupted` images that are shown, of one source and of `trained` runs; and notes."""
    notes, wanted = [], {cell.key for cell in cells}
    of_cells = [record for record in corrupted if record.key in wanted]
    of_runs = [record for record in of_cells if record.key in trained]
    if unfinished := len(of_cells) - len(of_runs):  # its weights may not be those of the run's best epoch
        notes.append(f"Ignored: {unfinished} records of runs that have no record of their training.")
    chosen = corruption_tables.choose_source(of_runs)
    subset = f", {evaluation.images} of them" if evaluation.images else ""
    images = f"{chosen or 'none evaluated yet'}{subset}"
    notes.append(f"Corrupted images: {images}. Weights: those of the {evaluation.weights} epoch.")
    others = Counter(record.source for record in of_runs if record.source != chosen)
    notes += [f"Ignored: {n} records of {other}, one source a table." for other, n in others.items()]
    return {record.key: record for record in of_runs if record.source == chosen}, notes


def _evaluate(seed: _Seed, evaluation: CorruptedEvaluation, source: str) -> str:
    directory = seed.run.directory if seed.run else seed.cell.directory
    return shell_command(["python", *evaluation_command(directory, evaluation, source, seed.cell.overrides)])


def _numbers(
    rows: dict[str, list[_Seed]], evaluation: CorruptedEvaluation | None, paper: Path | None, compared: bool
) -> pd.DataFrame:
    """Return a line for each row and metric."""
    printed = row_tables.read_rows(paper) if paper else pd.DataFrame()
    metrics = ["top1", *(["top5"] if "top5" in printed and printed["top5"].notna().any() else [])]
    errors: dict[tuple[str, str], list[list[float]]] = {}
    for row, seeds in rows.items():
        for metric in metrics:
            runs = [seed.run for seed in seeds if seed.run]
            errors[row, metric] = [[run.error(when, int(metric[-1])) for run in runs] for when in ("best", "last")]
        if evaluation:
            complete = [means(seed.corrupted.top1_errors) for seed in seeds if seed.done and seed.corrupted]
            names = evaluation.corruptions
            errors[row, "corrupted"] = [[sum(of[name] for name in names) / len(names) for of in complete], []]
    wanted = {row: len(seeds) for row, seeds in rows.items()}
    return row_tables.row_table(errors, wanted, printed if compared else pd.DataFrame())


def _about(numbers: pd.DataFrame) -> list[str]:
    parts = ["Error in %; ours: mean ± sample standard deviation over seeds (n)."]
    if numbers["paper"].notna().any():
        parts.append("Difference: ours of the best epoch minus the paper's, which are of the best epoch too.")
    if (numbers["n"] > 1).any():
        parts.append("Interval: of the mean, Student's t.")
    cited = [f"{mark} cited by the paper from: {text}." for text, mark in row_tables.citations(numbers).items()]
    return [" ".join(parts), *cited]


def _corrupted_numbers(
    rows: dict[str, list[_Seed]], evaluation: CorruptedEvaluation, paper: Path, compared: bool
) -> pd.DataFrame:
    """Return a line for each cell of the paper's table and row."""
    printed = corruption_tables.read_paper(paper)
    printed = printed if compared else printed.assign(top1_error=math.nan)
    seeds = [seed for of_row in rows.values() for seed in of_row]
    here = [replace(seed.corrupted, method=seed.cell.row) for seed in seeds if seed.corrupted]
    numbers = corruption_tables.compare(here, printed, by_category=evaluation.benchmark in BY_CATEGORY)
    return numbers.assign(images=here[0].source if here else "")


def _about_corrupted(numbers: pd.DataFrame, counts: dict[str, tuple[int, int]], compared: bool) -> list[str]:
    form = "paper / ours / difference" if compared else "ours"
    n = ", ".join(f"{name_of(row)} {done} of {wanted}" for row, (done, wanted) in counts.items())
    overall = numbers[(numbers[["corruption", "severity"]] == "average").all(axis=1) & (numbers["category"] == "")]
    return [
        f"Top-1 error in %: {form}; ours: mean ± sample standard deviation over seeds. n: {n}.",
        *(
            f"95 % interval of the mean over the table (Student's t), {name_of(line.method)}: "
            f"{interval(line.low, line.high)}."
            for line in overall.dropna(subset="low").itertuples()
        ),
    ]


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
        markup.markdown(pd.DataFrame(body, columns=["table", "complete rows", "runs", "files"])),
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
