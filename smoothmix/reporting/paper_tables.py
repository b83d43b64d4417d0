"""A table of the paper, filled from records."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from smoothmix.evaluation.averages import means
from smoothmix.evaluation.corrupted import CorruptedEvaluation
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.reporting import commands, corruption_tables, markup, row_tables
from smoothmix.reporting.corruption_tables import choose_source, read_paper
from smoothmix.reporting.mean import interval
from smoothmix.reporting.methods import name_of
from smoothmix.reporting.table_cells import TableCell, match
from smoothmix.utils.command import shell_command
from smoothmix.utils.records import RunKey, RunRecord

BY_CATEGORY = {"imagenet_c"}  # Table 5 averages the categories, Table 4 the corruptions
Runs = dict[RunKey, RunRecord]
Evaluations = dict[RunKey, CorruptionRecord]


@dataclass(frozen=True)
class Filled:
    """A filled table: what the file is called, its title, all numbers, the text of its cells, and what stands below.

    `text` has the commands in the cells that lack seeds, `plain` has not; `commands` are (row, command) of all that is
    missing; `counts` are (row, seeds that are there, seeds wanted). `by_column`: the rows of configs/table/ are
    columns here, and the cells are too small for commands.
    """

    name: str
    title: str
    numbers: pd.DataFrame
    text: pd.DataFrame
    plain: pd.DataFrame
    notes: list[str]
    commands: list[tuple[str, str]]
    by_column: bool
    counts: list[tuple[str, int, int]]

    def markdown(self) -> str:
        """Return the page of the table."""
        parts = [f"# {self.title}", markup.markdown(self.text), *self.notes]
        if self.commands and self.by_column:
            listed = "\n".join(f"{command}    # {row}" for row, command in self.commands)
            parts += ["Still to run:", f"```sh\n{listed}\n```"]
        return "\n\n".join(parts) + "\n"

    def latex(self) -> str:
        """Return the table for a paper; the commands stand behind it."""
        still = [f"To run for {row}: `{command}`" for row, command in self.commands]
        caption = re.sub(r"^Table (\d): (.*)", r"\2 (Table \1 of the paper)", self.title)  # LaTeX counts its own
        return markup.latex(self.plain, caption, f"tab:{self.name}", self.notes, still)

    def csv(self) -> str:
        """Return all numbers, four decimals."""
        return str(self.numbers.to_csv(index=False, float_format="%.4f", lineterminator="\n"))


def fill(
    name: str,
    title: str,
    evaluation: CorruptedEvaluation | None,
    cells: Sequence[TableCell],
    records: list[RunRecord],
    corrupted: list[CorruptionRecord],
    paper: Path | None,
    compared: bool,
    source: str,
) -> Filled:
    """Return the table `name`.

    Args:
        name: of its files.
        title: its heading.
        evaluation: what is evaluated on corrupted images, if anything.
        cells: every training that it needs.
        records: of runs; those of no cell are not used.
        corrupted: records of this evaluation, from published files or generated images.
        paper: the file with the paper's rows, or None for a table of our own.
        compared: whether the paper's numbers are shown: not beside runs that were scaled down.
        source: where commands take corrupted images from, "files" or "generate", if no record tells.
    """
    found = match(records, cells)
    evaluated: Evaluations = {}
    notes: list[str] = []
    if evaluation:
        of_cells = [record for record in corrupted if record.key in found]
        unfinished = [record for record in corrupted if record.key in {cell.key for cell in cells} - found.keys()]
        if unfinished:  # its weights may not be those of the run's best epoch
            notes.append(f"Ignored: {len(unfinished)} records of runs that have no record of their training.")
        chosen = choose_source(of_cells)
        evaluated = match([record for record in of_cells if record.source == chosen], cells)
        others = Counter(record.source for record in of_cells if record.source != chosen)
        if evaluated:
            source = "generate" if any("-generate" in record.path.name for record in evaluated.values()) else "files"
        subset = f", {evaluation.images} of them" if evaluation.images else ""
        images = f"{chosen or 'none evaluated yet'}{subset}"
        notes.append(f"Corrupted images: {images}. Weights: those of the {evaluation.weights} epoch.")
        notes += [f"Ignored: {n} records of {other}, one source a table." for other, n in others.items()]
    rows = {cell.row: [one for one in cells if one.row == cell.row] for cell in cells}
    if evaluation and paper:
        return _corruption_table(
            name, title, evaluation, rows, found, evaluated, notes, read_paper(paper), compared, source
        )
    todo = {(row, "top1"): _training(of_row, found) for row, of_row in rows.items()}
    corrupted_errors: dict[str, list[float]] = {}
    done = set(found)
    if evaluation:
        done &= _complete(evaluated, evaluation)
        names = evaluation.corruptions
        notes.append(f"corrupted: mean top-1 error over {len(names)} corruptions and their five severities.")
        for row, of_row in rows.items():
            there = [means(evaluated[cell.key].top1_errors) for cell in of_row if cell.key in done]
            corrupted_errors[row] = [sum(errors[name] for name in names) / len(names) for errors in there]
            # what is not trained yet has its command in the first cell
            trained = [cell for cell in of_row if cell.key in found]
            todo[row, "corrupted"] = _evaluation(trained, found, evaluated, evaluation, source)
    by_row = {row: [found[cell.key] for cell in of_row if cell.key in found] for row, of_row in rows.items()}
    printed, empty = row_tables.read_rows(paper) if paper else None, pd.Series(dtype=float)
    metrics = ["top1", *(["top5"] if printed is not None and printed.get("top5", empty).notna().any() else [])]
    numbers = row_tables.row_table(
        by_row,
        {row: len(of_row) for row, of_row in rows.items()},
        metrics,
        printed if compared else None,
        corrupted_errors if evaluation else None,
    )
    shown = {place: " && ".join(lines) for place, lines in todo.items() if lines}
    if splits := {record.selected_on for of_row in by_row.values() for record in of_row}:
        notes.append(f"The best epoch was chosen on: {', '.join(sorted(splits))}.")
    cited = [f"{mark} cited by the paper from: {text}." for text, mark in row_tables.citations(numbers).items()]
    return Filled(
        name,
        title,
        numbers.assign(command=[shown.get((line.row, line.metric), "") for line in numbers.itertuples()]),
        row_tables.text(numbers, shown),
        row_tables.text(numbers, {}),
        ["Error in %; ours: mean ± sample standard deviation over seeds (n)." + _about(numbers), *cited, *notes],
        [(row, line) for (row, _), lines in todo.items() for line in lines],
        False,
        [(row, sum(cell.key in done for cell in of_row), len(of_row)) for row, of_row in rows.items()],
    )


def _about(numbers: pd.DataFrame) -> str:
    parts = []
    if numbers["paper"].notna().any():
        parts.append("Difference: ours of the best epoch minus the paper's, which are of the best epoch too.")
    if (numbers["n"] > 1).any():
        parts.append("Interval: of the mean, Student's t.")
    return "".join(f" {part}" for part in parts)


def _corruption_table(
    name: str,
    title: str,
    evaluation: CorruptedEvaluation,
    rows: dict[str, list[TableCell]],
    found: Runs,
    evaluated: Evaluations,
    notes: list[str],
    paper: pd.DataFrame,
    compared: bool,
    source: str,
) -> Filled:
    wanted = [cell for of_row in rows.values() for cell in of_row]
    here = [replace(evaluated[cell.key], method=cell.row) for cell in wanted if cell.key in evaluated]
    printed = paper if compared else paper.assign(top1_error=math.nan)
    numbers = corruption_tables.compare(here, printed, by_category=evaluation.benchmark in BY_CATEGORY)
    todo, counts, lines, of_method = [], [], [], {}
    complete = _complete(evaluated, evaluation)
    for row, of_row in rows.items():
        of_row_todo = _training(of_row, found) + _evaluation(of_row, found, evaluated, evaluation, source)
        todo += [(name_of(row), line) for line in of_row_todo]
        of_method[row] = " && ".join(of_row_todo)
        done = [cell for cell in of_row if cell.key in complete]
        counts.append((row, len(done), len(of_row)))
        lines.append(f"{name_of(row)} {len(done)} of {len(of_row)}")
    overall = numbers[(numbers["corruption"] == "average") & (numbers["category"] == "") & numbers["low"].notna()]
    intervals = [
        f"95 % interval of the mean over the table (Student's t), {name_of(line.method)}: "
        f"{interval(line.low, line.high)}."
        for line in overall.itertuples()
        if line.severity == "average"
    ]
    form = "paper / ours / difference" if compared else "ours"
    text = corruption_tables.text(numbers)
    explained = f"Top-1 error in %: {form}; ours: mean ± sample standard deviation over seeds. n: {', '.join(lines)}."
    return Filled(
        name,
        title,
        numbers.assign(images=here[0].source if here else "", command=numbers["method"].map(of_method)),
        text,
        text,
        [explained, *intervals, *notes],
        todo,
        True,
        counts,
    )


def _training(cells: list[TableCell], found: Runs) -> list[str]:
    missing = [cell for cell in cells if cell.key not in found]
    return [commands.train(missing)] if missing else []


def _evaluation(
    cells: list[TableCell],
    found: Runs,
    evaluated: Evaluations,
    evaluation: CorruptedEvaluation,
    source: str,
) -> list[str]:
    """Return a command for every cell whose evaluation is not complete."""
    complete, lines = _complete(evaluated, evaluation), []
    for cell in (cell for cell in cells if cell.key not in complete):
        directory = found[cell.key].directory if cell.key in found else cell.directory
        command = commands.evaluate(directory, evaluation, source, commands.shared_overrides(cell.overrides))
        lines.append(shell_command(["python", *command]))
    return lines


def _complete(evaluated: Evaluations, evaluation: CorruptedEvaluation) -> set[RunKey]:
    """Return the keys of the runs whose evaluation is complete."""
    return {key for key, record in evaluated.items() if not evaluation.missing(record.top1_errors)}
