"""The report: one HTML page that needs neither a server nor a network."""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment

from smoothmix.evaluation.averages import incomplete
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.reporting import comparison, figures
from smoothmix.reporting.comparison import SHOWN, CorruptionSetting, Line, Setting, by_setting, compare_corrupted
from smoothmix.reporting.curves import learning_curves, read_log
from smoothmix.reporting.mean import number
from smoothmix.reporting.paper_tables import Filled
from smoothmix.reporting.records import Found
from smoothmix.utils.errors import UserError
from smoothmix.utils.records import RunKey, RunRecord

START = ("time", "epoch", "step", "git_commit", "device", "command")  # what the ledger shows of a start
TEMPLATE = Path(__file__).with_name("report.html")
ABOUT = (
    "Top-1 test error in %, mean ± sample standard deviation over n seeds, at the best and at the last epoch. Brackets "
    "hold 95 % intervals (Student's t), the first of the last epoch's mean. The difference is the last epoch's, minus "
    "the baseline's: paired by seed if both have two seeds in common, otherwise between the means (Welch). * p < 0.05 "
    "after Holm's correction over the methods of a table."
)


class Cell(NamedTuple):
    """A cell of a sortable table: its text, the number it sorts by, and a CSS class."""

    text: str
    sort: float | None
    mark: str = ""


@dataclass
class PaperTable:
    """A table of configs/table/: how many runs it wants, what fills it, and its content if it has a run."""

    name: str
    title: str
    wanted: int
    command: str
    content: Filled | None = None
    keys: frozenset[RunKey] = frozenset()

    @property
    def there(self) -> int:
        """How many of its runs are there."""
        return self.content.runs[0] if self.content else 0


@dataclass
class Contents:
    """What is shown beside the records.

    `pictures` are {method: PNG of a mixed batch}, `claims` {where it was found: frame}, `corruptions` {benchmark: all
    of its corruptions}.
    """

    command: str
    tables: Sequence[PaperTable]
    pictures: Mapping[str, bytes]
    claims: Mapping[str, pd.DataFrame]
    audit: pd.DataFrame
    corruptions: Mapping[str, Sequence[str]]


def report(found: Found, contents: Contents, progress: Callable[[str], None]) -> str:
    """Return the page. `progress` is told what is drawn next; damaged logs are added to the problems of `found`."""
    progress("comparisons")
    comparisons = []
    for setting, lines in comparison.compare(found.runs).items():
        progress(f"learning curves of {setting.dataset}, {setting.model}")
        comparisons.append(_comparison(setting, lines, found.problems))
    progress("corruptions")
    robustness = _robustness(found.corrupted)
    sections = {
        "comparison": "Your runs",
        "corruptions": "Corrupted images" if robustness else "",
        "mixed": "What the network sees" if contents.pictures else "",
        "claims": "Claims" if contents.claims else "",
        "tables": "Tables",
        "audit": "Audit",
        "ledger": "Ledger",
        "incomplete": "Incomplete",
    }
    progress("page")
    environment = Environment(autoescape=True, trim_blocks=True)
    environment.filters |= {"text": _text, "uri": _uri}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        sections=[(anchor, title) for anchor, title in sections.items() if title],
        runs=found.runs,
        hours=sum(record.seconds or 0.0 for record in found.runs) / 3600,
        problems=found.problems,
        about=ABOUT,
        comparisons=comparisons,
        robustness=robustness,
        ledger=[_entry(record, contents.tables) for record in found.runs],
        incomplete=_incomplete(found, contents.corruptions),
        **vars(contents),
    )


def _comparison(setting: Setting, lines: list[Line], problems: list[str]) -> dict[str, Any]:
    where = "chosen on the test set, as in the paper" if setting.selected_on == "test" else "chosen on held-out images"
    several = any(len(line.runs) > 1 for line in lines)
    logged = [record for line in lines for record in line.runs if _has_log(record, problems)]
    return {
        "title": str(setting),
        "note": f"Best epoch {where}." + ("" if several else " With one seed each, the spread is unknown."),
        "heads": list(lines[0].text()),
        "rows": [_line(line) for line in lines],
        "curves": figures.svg(learning_curves(logged)) if logged else b"",
        "calibration": comparison.calibrations(lines),
    }


def _has_log(record: RunRecord, problems: list[str]) -> bool:
    """Return whether the log of a run can be drawn; note a damaged one. Where only records are kept there is none."""
    if not (record.directory / "metrics.jsonl").exists():
        return False
    try:
        return len(read_log(record)) > 0
    except UserError as error:
        problems.append(str(error))
        return False


def _line(line: Line) -> list[Cell]:
    sign = "worse" if line.difference > 0 else "better"
    last = line.mean("last").mean
    sorts = [None, len(line.runs), line.mean("best").mean, last, last, _sortable(line.difference), _sortable(line.p)]
    cells = [Cell(text, sort) for text, sort in zip(line.text().values(), sorts, strict=True)]
    if line.significant:
        cells[-2] = cells[-2]._replace(mark=f"significant {sign}")
    return cells


def _robustness(records: Sequence[CorruptionRecord]) -> list[dict[str, Any]]:
    """Return a heat map and severity curves for each setting."""
    shown, groups = [], by_setting(records, CorruptionSetting)
    means = {measure: compare_corrupted(records, measure) for measure in SHOWN}
    for setting, errors in means["top1_error"].items():
        try:
            severities = figures.svg(figures.severity_curves(groups[setting], ""))
        except UserError:  # no corruption is complete in all of them
            severities = b""
        counts = ", ".join(f"{label} {column.iloc[0].n}" for label, column in errors.items())
        shown.append(
            {
                "title": str(setting),
                "note": f"Mean over five severities and seeds (n: {counts}). Images: {setting.source}. The stronger "
                "the colour, the higher the value within its line.",
                "heads": list(errors),
                "maps": [
                    {"title": title, "rows": _heat_map(means[measure][setting], form)}
                    for measure, (title, form) in SHOWN.items()
                    if setting in means[measure]
                ],
                "severities": severities,
            }
        )
    return shown


def _heat_map(means: pd.DataFrame, form: str) -> list[tuple[str, list[tuple[str, float]]]]:
    """Return (text, how dark it is: 0 to 1) of the cells of each line of what :func:`compare_corrupted` returned."""
    values = means.map(lambda of_seeds: of_seeds.mean).astype(float)
    lows, highs = values.min(axis=1), values.max(axis=1)
    shades = values.sub(lows, axis=0).div((highs - lows).where(highs > lows, 1.0), axis=0).round(3)
    texts = values.map(lambda value: number(value, form))
    return [(name, list(zip(texts.loc[name], shades.loc[name].tolist(), strict=True))) for name in values.index]


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


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3g}"
    return str(value)


def _sortable(value: float) -> float | None:
    return None if math.isnan(value) else value


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
