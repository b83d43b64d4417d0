"""The tables of configs/table/, filled from the frames: paper | ours | difference, and what fills an empty cell."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from smoothmix.evaluation.averages import CATEGORIES
from smoothmix.evaluation.corrupted import CorruptedEvaluation
from smoothmix.reporting.frames import LEVELS, TOP1, Results
from smoothmix.reporting.methods import name_of, place_of
from smoothmix.reporting.page import Markdown, code
from smoothmix.reporting.statistics import Mean, averages, interval, number
from smoothmix.utils.command import override, shell_command
from smoothmix.utils.records import RunKey

PUBLISHED = "published files"
# what an evaluation takes over from the overrides of its training
SHARED = ("device=", "timeout=", "dataset.root=", "dataset.workers=")
CELL = ["category", "corruption", "severity"]  # of Tables 4 and 5
ENDPOINTS_OF = {"top1": ("best_top1", "last_top1"), "top5": ("best_top5", "last_top5")}
TITLES = {"top1": "top-1", "top5": "top-5", "best": "top-1, best run", "corrupted": "corrupted"}


@dataclass(frozen=True, eq=False)
class TableCell:
    """One seed of one row: the `key` of its run, its overrides, the directory it would have."""

    row: str
    key: RunKey
    overrides: tuple[str, ...]
    directory: Path

    @property
    def run(self) -> str:
        """The name of its run in the frames."""
        return f"{'/'.join(map(str, self.key[:3]))}/{self.key.recipe}-{self.key.config_hash}/seed{self.key.seed}"


@dataclass(frozen=True)
class Filled:
    """A filled table: the name of its files, its title, all numbers, the text of its cells, notes, and the counts.

    `commands` fill what is missing, (row, command); `counts` are (seeds that are there, seeds wanted) of each row.
    """

    name: str
    title: str
    numbers: pd.DataFrame
    text: pd.DataFrame
    notes: list[str]
    commands: list[tuple[str, str]]
    counts: dict[str, tuple[int, int]]

    @property
    def runs(self) -> tuple[int, int]:
        """How many runs are there, and how many are wanted."""
        return sum(done for done, _ in self.counts.values()), sum(wanted for _, wanted in self.counts.values())

    def latex(self) -> str:
        """Return the table for a paper (booktabs), without the commands."""
        text = self.text.map(lambda cell: "-" if isinstance(cell, Markdown) else str(cell))
        return str(text.to_latex(index=False, escape=True, caption=self.title, label=f"tab:{self.name}"))


def labelled(results: Results, cells: Sequence[TableCell]) -> Results:
    """Return the results of the table's runs, a column `row` in both frames, in the order of the table's rows."""
    order = {row: place for place, row in enumerate(dict.fromkeys(cell.row for cell in cells))}
    rows = pd.DataFrame([(cell.run, cell.row) for cell in cells], columns=["run", "row"]).drop_duplicates("run")

    def with_rows(frame: pd.DataFrame) -> pd.DataFrame:
        joined = frame.drop(columns="row", errors="ignore").merge(rows, on="run")
        return joined.sort_values("row", key=lambda row: row.map(order), kind="stable", ignore_index=True)

    return replace(results, runs=with_rows(results.runs), errors=with_rows(results.errors))


def evaluated(
    results: Results, evaluation: CorruptedEvaluation, source: str | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Return the errors that belong to a table's evaluation, of one source of images, and notes on what was chosen.

    The source is the published files if any run has them, else that of most runs; `source` ("files" or "generate")
    restricts the choice. On all test images, unless the evaluation names a number of them.
    """
    runs, errors = results.runs.set_index("run"), results.errors
    wanted = errors[(errors["benchmark"] == evaluation.benchmark) & (errors["weights"] == evaluation.weights)]
    wanted = wanted[wanted["run"].isin(runs.index)]
    number = wanted["run"].map(runs["test_images"]) if evaluation.images is None else evaluation.images
    wanted = wanted[(wanted["images"] == number) | wanted["images"].isna() | pd.isna(number)]
    if source is not None:
        wanted = wanted[(wanted["source"] == PUBLISHED) == (source == "files")]
    counts = Counter(wanted.drop_duplicates(["run", "source"])["source"])
    chosen = min(counts, key=lambda name: (name != PUBLISHED, -counts[name], name), default=None)
    subset = "" if evaluation.images is None or "of" in (chosen or "") else f", {evaluation.images} of them"
    notes = [f"Corrupted images: {chosen or 'none evaluated yet'}{subset}. Weights: those of the "
             f"{evaluation.weights} epoch."]  # fmt: skip
    notes += [f"Ignored: {n} evaluations on {name}; a table shows one source." for name, n in counts.items()
              if name != chosen]  # fmt: skip
    return wanted[wanted["source"] == chosen], notes


def fill(
    name: str,
    title: str,
    cells: Sequence[TableCell],
    results: Results,
    evaluation: CorruptedEvaluation | None,
    paper: Path | None,
    compared: bool = True,
    source: str | None = None,
) -> Filled:
    """Return the table `name`.

    Args:
        name: of its files.
        title: its heading.
        cells: every training that it needs.
        results: the frames; runs of no cell are not used.
        evaluation: what is evaluated on corrupted images, if anything.
        paper: the file with the paper's rows, or None for a table of our own.
        compared: whether the paper's numbers are shown: not beside runs that were scaled down.
        source: of the corrupted images, "files" or "generate"; by default what there is.
    """
    found = labelled(results, cells)
    errors, notes = evaluated(found, evaluation, source) if evaluation else (found.errors[:0], [])
    complete = averages(errors[errors["measure"] == TOP1]).set_index("run")["corrupted"].dropna()
    trained, rows = set(found.runs["run"]), list(dict.fromkeys(cell.row for cell in cells))
    commands, counts = [], {}
    for row in rows:
        of_row = [cell for cell in cells if cell.row == row]
        missing = [cell for cell in of_row if cell.run not in trained]
        todo = [train_command(missing)] if missing else []
        if evaluation is not None:
            images = source or ("generate" if _generated(errors) else "files")
            there = found.runs.set_index("run")["directory"].dropna()
            for cell in of_row:
                if cell.run not in complete.index:
                    directory = there.get(cell.run, cell.directory)
                    words = evaluation_command(directory, evaluation, images, cell.overrides)
                    todo.append(shell_command(["python", *words]))
        commands += [(row, command) for command in todo]
        done = trained & (set(complete.index) if evaluation else trained)
        counts[row] = (sum(cell.run in done for cell in of_row), len(of_row))
    if evaluation and paper:
        numbers = _paper_cells(errors, read_corrupted(paper), evaluation.benchmark, compared)
        text, about = _wide(numbers), _about_corrupted(numbers, counts, compared)
    else:
        wanted = {row: n for row, (_, n) in counts.items()}
        corrupted = found.runs["run"].map(complete) if evaluation else None
        numbers = _row_numbers(found.runs, wanted, read_rows(paper) if paper else None, corrupted, compared)
        first = {row: command for row, command in reversed(commands)}
        text, about = _long(numbers, first), _about(numbers)
        if evaluation:
            names = f"{len(evaluation.corruptions)} corruptions and their five severities"
            notes = [f"corrupted: mean top-1 error over {names}.", *notes]
        if splits := sorted(found.runs["selected_on"].unique()):
            about.append(f"The best epoch was chosen on: {', '.join(splits)}.")
    return Filled(name, title, numbers, text, [*about, *notes], commands, counts)


def _generated(errors: pd.DataFrame) -> bool:
    return bool(len(errors)) and errors["source"].iloc[0] != PUBLISHED


def train_command(cells: Sequence[TableCell]) -> str:
    """Return the command line that trains the `cells`, which are seeds of one row."""
    *overrides, _ = cells[0].overrides  # the last one is the seed
    seeds = ",".join(str(cell.key.seed) for cell in cells)
    return shell_command(["python", "train.py", *(["-m"] if len(cells) > 1 else []), *overrides, f"seed={seeds}"])


def evaluation_command(
    directory: Path, evaluation: CorruptedEvaluation, source: str, overrides: Iterable[str]
) -> list[str]:
    """Return script and arguments that evaluate a run on corrupted images from `source`: files or generate.

    Of the `overrides` of its training it takes over what an evaluation takes as well.
    """
    shared = [given for given in overrides if given.startswith(SHARED)]
    return ["eval_corruption.py", override("run", str(directory)), *evaluation.overrides(source), *shared]


# ---- Tables 1, 2, 3, 6, 7, 8, and our own: a line for each row and metric


def read_rows(path: Path) -> pd.DataFrame:
    """Return a file of results/paper/: index row; columns top1, origin, source, and some of top5, std, best.

    Numbers are floats (NaN: not printed), but `std` stays as it was printed.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("row")
    return table.assign(**{name: pd.to_numeric(table[name]) for name in ("top1", "top5", "best") if name in table})


def _row_numbers(
    runs: pd.DataFrame,
    wanted: Mapping[str, int],
    printed: pd.DataFrame | None,
    corrupted: "pd.Series[float] | None",
    compared: bool,
) -> pd.DataFrame:
    """Return a line for each row and metric.

    Its columns: row, metric, paper, paper_std, origin, source, wanted, those of :class:`Mean` (of the best epoch, over
    seeds), last, last_std, difference.
    """
    has = printed.notna().any() if printed is not None else {"top1": True}
    metrics = [name for name in ("top1", "top5", "best") if has.get(name, False)]
    metrics += ["corrupted"] if corrupted is not None else []
    lines = []
    for row, n in wanted.items():
        of_row = runs[runs["row"] == row]
        paper: dict[str, Any] = printed.loc[row].to_dict() if printed is not None and compared else {}
        for metric in metrics:
            if metric == "corrupted" and corrupted is not None:
                best, last = Mean.of(list(corrupted[of_row.index].dropna())), Mean(0)
            else:
                best, last = (Mean.of(list(of_row[name])) for name in ENDPOINTS_OF.get(metric, ENDPOINTS_OF["top1"]))
            line = {"row": row, "metric": metric, "paper": paper.get(metric, math.nan), "wanted": n}
            line |= {"paper_std": paper.get("std", "") if metric == "top1" else ""}
            line |= {key: paper.get(key, "") for key in ("origin", "source")}
            if metric == "best":  # of all runs
                best, last = Mean(best.n, best.least), Mean(0)
            lines.append(line | best._asdict() | {"last": last.mean, "last_std": last.std})
    numbers = pd.DataFrame(lines)
    return numbers.assign(difference=numbers["mean"] - numbers["paper"])


def _long(numbers: pd.DataFrame, commands: Mapping[str, str]) -> pd.DataFrame:
    marks = _citations(numbers)
    text = []
    for line in numbers.itertuples():
        cited = f" {marks[line.source]}" if line.origin == "cited" and not math.isnan(line.paper) else ""
        paper = f"{number(line.paper)}{f' ± {line.paper_std}' if line.paper_std else ''}{cited}"
        ours: str = f"{Mean(line.n, line.mean, line.std):.2f}"
        first = line.metric == numbers["metric"].iloc[0]
        if not line.n and line.row in commands and first:
            ours = code(commands[line.row])
        text.append(
            {
                "row": line.row if first else "",
                "error (%)": TITLES[line.metric],
                "paper": paper,
                "ours, best epoch": ours,
                "difference": number(line.difference, "+.2f"),
                "95 % interval of ours": interval(line.low, line.high),
                "ours, last epoch": f"{Mean(line.n, line.last, line.last_std):.2f}",
                "n": f"{line.n} of {line.wanted}",
            }
        )
    shown = pd.DataFrame(text)
    return shown if numbers["paper"].notna().any() else shown.drop(columns=["paper", "difference"])


def _citations(numbers: pd.DataFrame) -> dict[str, str]:
    """Return {source: its mark} of the numbers that the paper cites."""
    sources = dict.fromkeys(numbers.loc[numbers["origin"] == "cited", "source"])
    return {source: f"†{place}" for place, source in enumerate(sources, 1)}


def _about(numbers: pd.DataFrame) -> list[str]:
    parts = ["Ours: mean ± sample standard deviation over seeds (n)."]
    if numbers["paper"].notna().any():
        parts.append("Difference: ours of the best epoch minus the paper's, which are of the best epoch too.")
    if (numbers["n"] > 1).any():
        parts.append("Interval: of the mean over seeds, Student's t.")
    cited = [f"{mark} cited by the paper from: {text}." for text, mark in _citations(numbers).items()]
    return [" ".join(parts), *cited]


# ---- Tables 4 and 5: a line for each corruption, a column for each method and severity


def read_corrupted(path: Path) -> pd.DataFrame:
    """Return a file of results/paper/: columns category, corruption, severity, method, top1_error, origin."""
    return pd.read_csv(path, dtype={"severity": str}, keep_default_na=False).astype({"top1_error": float})


def _paper_cells(errors: pd.DataFrame, printed: pd.DataFrame, benchmark: str, compared: bool) -> pd.DataFrame:
    """Return a line for every cell of the paper's table: its columns, paper, the columns of Mean of ours, difference.

    The corruption "average" stands for the mean over a category, or without one over the table: over the category
    means in Table 5, over the corruptions in Table 4. The severity "average" is the mean over five.
    """
    members = printed[printed["corruption"] != "average"].drop_duplicates("corruption")
    names = {category: list(of["corruption"]) for category, of in members.groupby("category", sort=False)}
    wide = errors[(errors["measure"] == TOP1) & (errors["corruption"] != "clean")].rename(columns={"mean": "average"})
    wide = wide.rename(columns={level: level.removeprefix("severity_") for level in LEVELS})
    wide = wide.pivot(index=["row", "run"], columns="corruption", values=["average", *map(str, range(1, 6))])
    lines = []
    for line in printed.itertuples():
        level = wide[line.severity].reindex(columns=list(members["corruption"])) if len(wide) else pd.DataFrame()
        if level.empty:
            values = pd.Series(dtype=float)
        elif line.corruption != "average":
            values = level[line.corruption]
        elif line.category:
            values = level[names[line.category]].mean(axis=1, skipna=False)
        elif benchmark == "imagenet_c":
            values = pd.concat([level[of].mean(axis=1, skipna=False) for of in names.values()], axis=1).mean(
                axis=1, skipna=False
            )
        else:
            values = level.mean(axis=1, skipna=False)
        of_method = values[values.index.get_level_values("row") == line.method] if len(values) else values
        paper = line.top1_error if compared else math.nan
        key = {name: getattr(line, name) for name in (*CELL, "method")}
        lines.append(key | {"paper": paper} | Mean.of(list(of_method))._asdict())
    numbers = pd.DataFrame(lines)
    return numbers.assign(difference=numbers["mean"] - numbers["paper"])


def _wide(numbers: pd.DataFrame) -> pd.DataFrame:
    shown = numbers[["category", "corruption"]].drop_duplicates().reset_index(drop=True)
    cells = {(line.category, line.corruption, line.severity, line.method): _cell(line) for line in numbers.itertuples()}
    for severity in dict.fromkeys(numbers["severity"]):
        for method in sorted(set(numbers["method"]), key=place_of):
            head = name_of(method) + ("" if severity == "average" else f", level {severity}")
            places = shown[["category", "corruption"]].itertuples(index=False, name=None)
            shown[head] = [cells.get((*place, severity, method), "-") for place in places]
    return shown


def _cell(line: Any) -> str:
    ours = f"{Mean(line.n, line.mean, line.std):.2f}"
    return ours if math.isnan(line.paper) else f"{line.paper:.2f} / {ours} / {number(line.difference, '+.2f')}"


def _about_corrupted(numbers: pd.DataFrame, counts: Mapping[str, tuple[int, int]], compared: bool) -> list[str]:
    n = ", ".join(f"{name_of(row)} {done} of {wanted}" for row, (done, wanted) in counts.items())
    overall = numbers[(numbers[["corruption", "severity"]] == "average").all(axis=1) & (numbers["category"] == "")]
    return [
        f"Top-1 error in %: {'paper / ours / difference' if compared else 'ours'}; ours: mean ± sample standard "
        f"deviation over seeds. n: {n}. Categories: {', '.join(CATEGORIES)}.",
        *(
            f"95 % interval of the mean over the table (Student's t), {name_of(line.method)}: "
            f"{interval(line.low, line.high)}."
            for line in overall.dropna(subset="low").itertuples()
        ),
    ]
