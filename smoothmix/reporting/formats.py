"""One table of strings, written three ways."""

import html
import re
from collections.abc import Sequence

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


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table: the first column left, the others right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def latex(
    head: Sequence[str], body: Sequence[Sequence[str]], caption: str, label: str, notes: Sequence[str],
    after: Sequence[str],
) -> str:  # fmt: skip
    """Return a LaTeX table (booktabs), never wider than the text; `code` between backquotes is set in typewriter.

    Args:
        head: of the columns.
        body: the lines.
        caption: above the table.
        label: for references.
        notes: below the table, in the float.
        after: paragraphs behind the float, where they may be of any length.
    """
    place = "sidewaystable" if len(head) > UPRIGHT else "table"
    lines = [
        "% needs \\usepackage{booktabs,graphicx,rotating}",
        f"\\begin{{{place}}}",
        "\\centering",
        f"\\caption{{{_latex(caption)}}}",
        f"\\label{{{label}}}",
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
        f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        "\\toprule",
        " & ".join(map(_latex_head, head)) + r" \\",
        "\\midrule",
        *(" & ".join(map(_latex, line)) + r" \\" for line in body),
        "\\bottomrule",
        "\\end{tabular}}",
        *(f"\n\\footnotesize {_latex(note)}" for note in notes),
        f"\\end{{{place}}}",
    ]
    if after:
        lines += ["\n{\\footnotesize\\raggedright", "\n\n".join(map(_latex, after)), "\\par}"]
    return "\n".join(lines) + "\n"


def html_table(head: Sequence[str], body: Sequence[Sequence[str]], ids: Sequence[str] = ()) -> str:
    """Return an HTML table, the rows with `ids`; `code` between backquotes is code, ``[text](#anchor)`` a link."""
    lines = ["<tr>" + "".join(f"<th>{html_text(cell)}</th>" for cell in head) + "</tr>"]
    for number, line in enumerate(body):
        mark = f' id="{html.escape(ids[number])}"' if ids else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{html_text(cell)}</td>" for cell in line) + "</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def html_text(text: str) -> str:
    """Return one line of text as HTML, with its `code` and ``[text](#anchor)``."""
    code = COMMAND.sub(r"<code>\1</code>", html.escape(text))
    return re.sub(r"\[([^\]]*)\]\((#[\w-]+)\)", r'<a href="\2">\1</a>', code)


def _latex(text: str) -> str:
    escaped = "".join(ESCAPES.get(character, character) for character in text)
    # a path is longer than a line
    return COMMAND.sub(lambda code: r"\texttt{" + code[1].replace("/", r"/\allowbreak{}") + "}", escaped)


def _latex_head(text: str) -> str:
    lines = [_latex(part) for part in re.split(r"(?<=[:,]) ", text)]
    return r"\shortstack[r]{" + r" \\ ".join(lines) + "}" if len(lines) > 1 else lines[0]
