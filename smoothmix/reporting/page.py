"""A page: a title and blocks of text, tables and pictures; written as Markdown, of which the HTML is made.

What comes from a record or a user (names, commands) is escaped where it enters the Markdown, and markdown-it admits no
HTML, so both forms show it as it is.
"""

import base64
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import TypeAlias

import pandas as pd

from smoothmix.utils.files import replacing, write_text

TEMPLATE = Path(__file__).with_name("page.html")
NUMBER = re.compile(r"[-+±<]? ?\d|-?$|nan$")


class Markdown(str):
    """Text that is Markdown already; any other text is escaped."""

    __slots__ = ()


@dataclass(frozen=True)
class Picture:
    """An SVG or PNG with the name of its file, what it shows (for those who do not see it), and a caption."""

    name: str
    content: bytes
    alt: str
    caption: str = ""


Block: TypeAlias = str | pd.DataFrame | Picture


@dataclass
class Page:
    """A title and blocks: text (a paragraph, escaped unless it is :class:`Markdown`), frames of text, pictures."""

    title: str
    blocks: list[Block] = field(default_factory=list)

    def add(self, *blocks: Block) -> None:
        """Append blocks."""
        self.blocks += blocks

    @property
    def pictures(self) -> list[Picture]:
        """The pictures, whose files belong beside the page."""
        return [block for block in self.blocks if isinstance(block, Picture)]

    def markdown(self) -> str:
        """Return the page as Markdown; pictures are files beside it."""
        return "\n\n".join([f"# {escape(self.title)}", *map(_text, self.blocks)]) + "\n"

    def write(self, path: Path, before: str = "") -> None:
        """Write the page as Markdown to `path`, behind the text `before`, and its pictures beside it.

        Raises:
            UserError: the file system refuses.
        """
        for picture in self.pictures:
            with replacing(path.with_name(picture.name), "wb") as file:
                file.write(picture.content)
        write_text(path, before + self.markdown())

    def html(self) -> str:
        """Return the page as HTML that needs neither a server nor a network nor files beside it."""
        from markdown_it import MarkdownIt

        body = MarkdownIt("commonmark", {"html": False}).enable("table").render(self.markdown())
        for picture in self.pictures:
            kind = "svg+xml" if picture.name.endswith(".svg") else picture.name.rpartition(".")[2]
            uri = f"data:image/{kind};base64,{base64.b64encode(picture.content).decode()}"
            body = body.replace(f'src="{picture.name}"', f'src="{uri}"')
        heads = re.findall(r"<h2>(.*?)</h2>", body)
        for place, head in enumerate(heads):
            body = body.replace(f"<h2>{head}</h2>", f'<h2 id="s{place}">{head}</h2>', 1)
        links = "".join(f'<a href="#s{place}">{head}</a>' for place, head in enumerate(heads))
        body = body.replace("</h1>", f"</h1>\n<nav>{links}</nav>", 1)
        body = body.replace("<table>", '<div class="scroll"><table class="sortable">')
        body = body.replace("</table>", "</table></div>")
        return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(title=_html(self.title), body=body)


def heading(text: str, level: int = 2) -> Markdown:
    """Return a heading."""
    return Markdown(f"{'#' * level} {escape(text)}")


def items(lines: Iterable[str]) -> Markdown:
    """Return a list, an item per line."""
    return Markdown("\n".join(f"- {line if isinstance(line, Markdown) else _paragraph(line)}" for line in lines))


def code(text: str) -> Markdown:
    """Return `text` in typewriter, whatever it holds."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return Markdown(f"{fence}{pad}{' '.join(text.split())}{pad}{fence}")


def code_block(lines: Sequence[str]) -> Markdown:
    """Return lines for a shell as a block of code, whatever they hold."""
    fence = "`" * max(3, 1 + max((len(run) for line in lines for run in re.findall("`+", line)), default=0))
    return Markdown("\n".join([f"{fence}sh", *(" ".join(line.split()) for line in lines), fence]))


def escape(text: str) -> str:
    """Return plain text as Markdown that shows it as it is."""
    text = re.sub(r"[\\`*~&]", r"\\\g<0>", " ".join(text.split()))
    return re.sub(r"<(?=[A-Za-z/!?])|\](?=[(\[:])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", text)


def table(frame: pd.DataFrame) -> Markdown:
    """Return a Markdown table without padding: columns of numbers are aligned right, others left."""
    cells = [[_cell(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    right = [all(NUMBER.match(row[place]) for row in cells) for place in range(frame.shape[1])]
    rules = ["---:" if is_right else ":---" for is_right in right]
    return Markdown("\n".join(f"| {' | '.join(row)} |" for row in [[*map(_cell, frame.columns)], rules, *cells]))


def _cell(value: object) -> str:
    if isinstance(value, float):
        text = "" if math.isnan(value) else f"{value:.3g}"
    else:
        text = value if isinstance(value, Markdown) else escape(str(value))
    return text.replace("|", r"\|")


def _text(block: Block) -> str:
    if isinstance(block, pd.DataFrame):
        return table(block)
    if isinstance(block, Picture):
        return f"![{escape(block.alt)}]({block.name})" + (f"\n\n*{escape(block.caption)}*" if block.caption else "")
    return block if isinstance(block, Markdown) else _paragraph(block)


def _paragraph(text: str) -> str:
    """Return plain text as Markdown that is neither a heading, nor a list, nor a quotation."""
    return re.sub(r"^(\d+)([.)] )", r"\1\\\2", re.sub(r"^(?=[#>+-])", r"\\", escape(text)))


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
