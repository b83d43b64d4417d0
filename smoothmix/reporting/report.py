"""The report: one HTML page that needs neither a server nor a network."""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment

from smoothmix.corruptions import CORRUPTIONS
from smoothmix.evaluation.averages import incomplete, means
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.reporting import figures
from smoothmix.reporting.comparison import Line, Setting, compare, labels
from smoothmix.reporting.corruption_tables import SETTING as CORRUPTED_SETTING
from smoothmix.reporting.paper_tables import Filled
from smoothmix.reporting.records import Found
from smoothmix.reporting.spread import spread
from smoothmix.utils.errors import UserError
from smoothmix.utils.records import RunKey, RunRecord

START = ("time", "epoch", "step", "git_commit", "device", "command")  # what the ledger shows of a start
TEMPLATE = Path(__file__).with_name("report.html")
ABOUT = (
    "Top-1 test error in %, mean ± sample standard deviation over n seeds, at the best and at the last epoch. Brackets "
    "hold 95 % intervals (Student's t), the first of the last epoch's mean. The difference is the last epoch's, minus "
    "the baseline's: seed by seed where two seeds are common, else between the means (Welch). * p < 0.05 after Holm's "
    "correction over the methods of a table."
)


class Cell(NamedTuple):
    """A cell of a sortable table: its text, the number it sorts by, a CSS class, and how dark it is (0 to 1)."""

    text: str
    sort: float | None = None
    mark: str = ""
    shade: float | None = None


@dataclass
class PaperTable:
    """A table of configs/table/: how many of its runs are there, what fills it, and its content if it has a run."""

    name: str
    title: str
    there: int
    wanted: int
    command: str
    content: Filled | None = None
    keys: frozenset[RunKey] = frozenset()


@dataclass
class Contents:
    """What is shown beside the records.

    `pictures` are {method: PNG of a mixed batch}, `claims` {where it was found: frame}, `corruptions` {benchmark: all
    of its corruptions}.
    """

    command: str
    tables: Sequence[PaperTable] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    claims: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    audit: pd.DataFrame | None = None
    corruptions: Mapping[str, Sequence[str]] = field(default_factory=dict)


def report(found: Found, contents: Contents, progress: Callable[[str], None] = lambda what: None) -> str:
    """Return the page. `progress` is told what is drawn next; damaged logs are added to the problems of `found`."""
    progress("comparisons")
    comparisons = []
    for setting, lines in compare(found.runs).items():
        progress(f"learning curves of {setting.dataset}, {setting.model}")
        comparisons.append(_comparison(setting, lines, found.problems))
    progress("corruptions")
    robustness = _robustness(found.corrupted)
    sections = [("comparison", "Your runs"), ("corruptions", "Corrupted images"), ("mixed", "What the network sees")]
    sections += [("claims", "Claims"), ("tables", "Tables"), ("audit", "Audit"), ("ledger", "Ledger")]
    sections.append(("incomplete", "Incomplete"))
    absent = {"corruptions": not robustness, "mixed": not contents.pictures, "claims": not contents.claims}
    absent["audit"] = contents.audit is None
    progress("page")
    template = Environment(autoescape=True, trim_blocks=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        sections=[(anchor, title) for anchor, title in sections if not absent.get(anchor)],
        command=contents.command,
        runs=found.runs,
        hours=sum(record.seconds or 0.0 for record in found.runs) / 3600,
        problems=found.problems,
        about=ABOUT,
        comparisons=comparisons,
        robustness=robustness,
        pictures=[{"name": name, "source": _uri(png, "png")} for name, png in contents.pictures.items()],
        claims=[_frame(frame) | {"note": note} for note, frame in contents.claims.items()],
        tables=[_paper_table(table) for table in contents.tables],
        audit=None if contents.audit is None else _frame(contents.audit),
        ledger=[_entry(record, contents.tables) for record in found.runs],
        incomplete=_incomplete(found, contents.corruptions),
    )


def _comparison(setting: Setting, lines: list[Line], problems: list[str]) -> dict[str, Any]:
    where = "chosen on the test set, as in the paper" if setting.selected_on == "test" else "chosen on held-out images"
    heads = ["method", "n", "best", "last", "95 % interval", "difference", "p"]
    title = f"{setting.dataset}, {setting.model}, recipe {setting.recipe}, {setting.epochs} epochs"
    several = any(len(line.runs) > 1 for line in lines)
    source, logged = "", [record for line in lines for record in line.runs if _has_log(record, problems)]
    if logged:
        source = _uri(figures.svg(figures.learning_curves(logged, "")), "svg+xml")
    return {
        "title": title,
        "note": f"Best epoch {where}." + ("" if several else " One seed each: nothing is known of the spread."),
        "heads": heads,
        "rows": [_line(line) for line in lines],
        "curves": source,
    }


def _has_log(record: RunRecord, problems: list[str]) -> bool:
    """Return whether the log of a run can be drawn; note a damaged one. Where only records are kept there is none."""
    if not (record.directory / "metrics.jsonl").exists():
        return False
    try:
        return len(figures.read_log(record)) > 0
    except UserError as error:
        problems.append(str(error))
        return False


def _line(line: Line) -> list[Cell]:
    best, last = spread(line.errors("best")), spread(line.errors("last"))
    sign = "worse" if line.difference > 0 else "better"
    mark = f"significant {sign}" if line.significant else ""
    difference = "" if math.isnan(line.difference) else f"{line.difference:+.2f}"
    if not math.isnan(line.low):
        difference += f" [{line.low:+.2f}, {line.high:+.2f}]"
    return [
        Cell(line.label),
        Cell(str(len(line.runs)), len(line.runs)),
        Cell(_mean(best), best["mean"]),
        Cell(_mean(last), last["mean"]),
        Cell("-" if math.isnan(last["low"]) else f"[{last['low']:.2f}, {last['high']:.2f}]", last["mean"]),
        Cell((difference + (" *" if line.significant else "")) or "-", _sortable(line.difference), mark),
        Cell("-" if math.isnan(line.p) else "< 0.001" if line.p < 0.001 else f"{line.p:.3f}", _sortable(line.p)),
    ]


def _robustness(records: Sequence[CorruptionRecord]) -> list[dict[str, Any]]:
    """Return a heat map and severity curves for each setting; a cell is a mean over severities and seeds."""
    shown = []
    for group in figures.groups(list(records), CORRUPTED_SETTING).values():
        columns: dict[tuple[str, str], list[dict[str, float]]] = {}
        for record in group:
            columns.setdefault((record.method, record.config_hash), []).append(means(record.top1_errors))
        heads = labels(list(columns))
        errors = pd.DataFrame(
            {
                label: {
                    corruption: sum(of_seed[corruption] for of_seed in columns[key]) / len(columns[key])
                    for corruption in CORRUPTIONS
                    if all(corruption in of_seed for of_seed in columns[key])
                }
                for key, label in heads.items()
            },
            index=[corruption for corruption in CORRUPTIONS],
        ).dropna(how="all")
        if errors.empty:
            continue
        errors.loc["mean"] = errors.mean(skipna=False)
        rows = [(name, [_shaded(error, errors.loc[name]) for error in errors.loc[name]]) for name in errors.index]
        record = group[0]
        try:
            severities = _uri(figures.svg(figures.severity_curves(group, "")), "svg+xml")
        except UserError:  # no corruption is complete in all of them
            severities = ""
        counts = ", ".join(f"{label} {len(columns[key])}" for key, label in heads.items())
        shown.append(
            {
                "title": f"{record.benchmark}: {record.dataset}, {record.model}, recipe {record.recipe}",
                "note": f"Top-1 error in %, mean over five severities and seeds (n: {counts}); {record.weights} "
                f"weights. Images: {record.source}. The stronger the colour, the higher the error within its line.",
                "heads": list(heads.values()),
                "rows": rows,
                "severities": severities,
            }
        )
    return shown


def _shaded(error: float, errors: "pd.Series[float]") -> Cell:
    if math.isnan(error):
        return Cell("-")
    low, high = errors.min(), errors.max()
    return Cell(f"{error:.2f}", error, shade=round(float((error - low) / (high - low)), 3) if high > low else 0.0)


def _paper_table(table: PaperTable) -> dict[str, Any]:
    content = table.content
    shown = {} if content is None else {"heads": content.head, "rows": content.plain_body, "notes": content.notes}
    return shown | {
        "name": table.name,
        "title": table.title,
        "there": table.there,
        "wanted": table.wanted,
        "filled": content is not None,
        "command": table.command,
        "commands": [] if content is None else content.commands,
    }


def _entry(record: RunRecord, tables: Sequence[PaperTable]) -> dict[str, Any]:
    return {
        "name": f"{record.dataset} / {record.model} / {record.method} / {record.recipe}-{record.config_hash}",
        "path": str(record.path),
        "seed": record.seed,
        "hours": "-" if record.seconds is None else f"{record.seconds / 3600:.2f}",
        "device": record.device or "-",
        "commit": str(record.fact("git_commit") or record.fact("git_note") or "-"),
        "starts": ["\n".join(f"{key}: {start[key]}" for key in START if key in start) for start in record.starts],
        "tables": [table.name for table in tables if record.key in table.keys],
    }


def _incomplete(found: Found, corruptions: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    shown = [(str(directory), reason) for directory, reason in found.unfinished.items()]
    for record in found.corrupted:
        if missing := incomplete(record.top1_errors, corruptions.get(record.benchmark, [])):
            shown.append((str(record.path), f"not evaluated at every severity: {', '.join(missing)}"))
    return shown


def _frame(frame: pd.DataFrame) -> dict[str, Any]:
    return {"heads": list(frame.columns), "rows": frame.map(_text).to_numpy().tolist()}


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3g}"
    return str(value)


def _mean(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.2f}" + ("" if math.isnan(found["std"]) else f" ± {found['std']:.2f}")


def _sortable(value: float) -> float | None:
    return None if math.isnan(value) else value


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
