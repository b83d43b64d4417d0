"""The report: one HTML page that needs neither a server nor a network."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from markdown import markdown

from smoothmix.reporting import formats
from smoothmix.reporting.matching import Cell, reason_aside
from smoothmix.reporting.paper_tables import Filled
from smoothmix.utils.records import RunRecord

MEDIA = {".svg": "image/svg+xml", ".png": "image/png"}  # a figure in both forms is shown in the first
LEDGER = ["fills", "config", "seed", "commit", "device", "hours", "best error", "last error", "record"]
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222 }
section { overflow-x: auto; margin-bottom: 2.5em }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; font-size: 14px }
th { border-bottom: 1px solid; vertical-align: bottom }
th, td { padding: .2em .7em; text-align: left; font-variant-numeric: tabular-nums }
tr:target { background: #ffe9a8 }
section:not(#audit, #ledger) td:not(:has(code)) { white-space: nowrap }
code, pre { font-size: 12px; background: #f3f3f3 }
img { max-width: 100% }
"""


def report(
    tables: Sequence[tuple[Filled, Sequence[Cell]]],
    records: Sequence[RunRecord],
    figures: Sequence[Path],
    audit: str | None,
) -> str:
    """Return the page.

    Args:
        tables: each with its cells.
        records: all that were read, used or not: the ledger.
        figures: files .svg and .png.
        audit: the audit of the paper, Markdown.
    """
    sections = [("tables", "Tables", _links([(table.name, table.title) for table, _ in tables]))]
    sections += [(table.name, table.title, _table(table)) for table, _ in tables]
    if figures:
        sections.append(("figures", "Figures", "\n".join(map(_figure, figures))))
    if audit is not None:
        sections.append(("audit", "Audit of the paper", markdown(audit, extensions=["tables"])))
    sections.append(("ledger", "Run ledger", _ledger(tables, records)))
    named = {table.name for table, _ in tables}
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>SmoothMix: results</title>',
        f'<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>SmoothMix: results</h1>',
        "<nav>" + _links([(anchor, title) for anchor, title, _ in sections if anchor not in named]) + "</nav>",
    ]
    for anchor, title, content in sections:
        parts.append(f'<section id="{anchor}">\n<h2>{html.escape(title)}</h2>\n{content}\n</section>')
    return "\n".join([*parts, "</body>\n</html>"]) + "\n"


def find_figures(folder: Path) -> list[Path]:
    """Return one file for every figure in `folder`, by name; none if there is no such folder."""
    suffixes = list(MEDIA)
    found = [path for path in folder.glob("*") if path.suffix in MEDIA]
    best: Mapping[str, Path] = {path.stem: path for path in sorted(found, key=lambda p: -suffixes.index(p.suffix))}
    return [best[stem] for stem in sorted(best)]


def _links(targets: Sequence[tuple[str, str]]) -> str:
    return "<ul>" + "".join(f'<li><a href="#{to}">{html.escape(title)}</a></li>' for to, title in targets) + "</ul>"


def _table(table: Filled) -> str:
    ids = [] if table.by_column else [_row_id(table, row) for row, _, _ in table.counts]
    notes = "".join(f"<p>{formats.html_text(note)}</p>" for note in table.notes)
    still = "\n".join(f"{command}    # {row}" for row, command in table.commands) if table.by_column else ""
    listed = f"<p>Still to run:</p><pre>{html.escape(still)}</pre>" if still else ""
    return formats.html_table(table.head, table.body, ids) + notes + listed


def _row_id(table: Filled, row: str) -> str:
    return f"{table.name}-row{[name for name, _, _ in table.counts].index(row)}"


def _figure(path: Path) -> str:
    source = f"data:{MEDIA[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
    name = html.escape(path.stem)
    return f'<figure><img src="{source}" alt="{name}"><figcaption>{name}</figcaption></figure>'


def _ledger(tables: Sequence[tuple[Filled, Sequence[Cell]]], records: Sequence[RunRecord]) -> str:
    if not records:
        return "<p>No finished run.</p>"
    every = [cell for _, cells in tables for cell in cells]
    body = []
    for record in records:
        places = {
            (table.name, cell.row): table for table, cells in tables for cell in cells if cell.key == record.key
        }
        links = [
            f"[{table.name}: {row}](#{table.name if table.by_column else _row_id(table, row)})"
            for (_, row), table in places.items()
        ]
        body.append(
            [
                ", ".join(links) or f"nothing ({reason_aside(record, every)})",
                f"{record.dataset}/{record.model}/{record.method}/{record.recipe}-{record.config_hash}",
                str(record.seed),
                str(record.fact("git_commit") or "-"),
                record.device or "-",
                "-" if record.seconds is None else f"{record.seconds / 3600:.2f}",
                f"{record.error('best'):.2f}",
                f"{record.error('last'):.2f}",
                str(record.path),
            ]
        )
    hours = sum(record.seconds or 0.0 for record in records) / 3600
    return f"<p>{len(records)} finished runs, {hours:.1f} hours.</p>" + formats.html_table(LEDGER, body)
