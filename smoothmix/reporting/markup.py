"""Tables of text: pandas frames as Markdown and LaTeX."""

import re
from collections.abc import Sequence

import pandas as pd

ESCAPES = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",  # a row that begins with one would be an argument of the line break before it
    "±": r"$\pm$",
    "†": r"$\dagger$",
}
UPRIGHT = 10  # columns; more are set sideways
COMMAND = re.compile(r"`([^`]*)`")


def markdown(table: pd.DataFrame) -> str:
    """Return a Markdown table of text without padding: columns of numbers are aligned right, others left."""
    text = table.astype(str).replace(r"\|", r"\\|", regex=True)
    align = ["right" if text.iloc[:, place].map(is_number).all() else "left" for place in range(table.shape[1])]
    padded = text.to_markdown(index=False, disable_numparse=True, colalign=align if len(table) else None)
    lines = [re.sub(r" *(?<!\\)\| *", " | ", line).strip() for line in padded.splitlines()]
    lines[1] = re.sub("-+", "---", lines[1])
    return "\n".join(lines)


def is_number(text: str) -> bool:
    """Return whether a cell of text begins with a number, or stands for one that is missing."""
    return re.match(r"[-+±<]? ?\d|-?$|nan$", text) is not None


def latex(table: pd.DataFrame, caption: str, label: str, notes: Sequence[str], after: Sequence[str]) -> str:
    """Return a LaTeX table (booktabs), never wider than the text; `code` between backquotes is set in typewriter.

    Args:
        table: text.
        caption: above the table.
        label: for references.
        notes: below the table, in the float.
        after: paragraphs behind the float, where they may be of any length.
    """
    place = "sidewaystable" if table.shape[1] > UPRIGHT else "table"
    text = table.astype(str).map(_latex).rename(columns=_latex_head)
    tabular = text.style.hide(axis="index").to_latex(hrules=True, column_format="l" + "r" * (table.shape[1] - 1))
    lines = [
        "% needs \\usepackage{booktabs,graphicx,rotating}",
        f"\\begin{{{place}}}",
        "\\centering",
        f"\\caption{{{_latex(caption)}}}",
        f"\\label{{{label}}}",
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
        f"{tabular.strip()}}}",
        *(f"\n\\footnotesize {_latex(note)}" for note in notes),
        f"\\end{{{place}}}",
    ]
    if after:
        lines += ["\n{\\footnotesize\\raggedright", "\n\n".join(map(_latex, after)), "\\par}"]
    return "\n".join(lines) + "\n"


def _latex(text: str) -> str:
    escaped = "".join(ESCAPES.get(character, character) for character in text)
    # a path is longer than a line
    return COMMAND.sub(lambda code: r"\texttt{" + code[1].replace("/", r"/\allowbreak{}") + "}", escaped)


def _latex_head(text: str) -> str:
    lines = [_latex(part) for part in re.split(r"(?<=[:,]) ", text)]
    return r"\shortstack[r]{" + r" \\ ".join(lines) + "}" if len(lines) > 1 else lines[0]
