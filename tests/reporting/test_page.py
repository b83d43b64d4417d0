"""Pages: what a stranger wrote stays text, in Markdown and in HTML."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothmix.reporting.page import Page, Picture, code, code_block, escape, heading, items, table

HOSTILE = [
    "<script>alert(1)</script>",
    "a | b",
    "[click](javascript:alert(1))",
    "![x](http://example.org/x.png)",
    "``` rm -rf / ```",
    "`x` ``y``",
    "# no heading",
    "- no item",
    "1. no number",
    "> no quote",
    "_no_ *emphasis* __here__",
    "line\nbreak | <b>",
    "&amp; &lt;b&gt;",
    "\\*escaped\\*",
]


class Seen(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(re.sub(r"(?s)<head>.*</head>|<script>\nfor.*?</script>|<nav>.*?</nav>", "", html))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_stranger_wrote_is_shown_as_it_is(text):
    page = Page(text)
    page.add(heading(text), text, pd.DataFrame({text: [text, "1"]}), items([text]), code(text), code_block([text]))
    seen = Seen(page.html())
    shown = " ".join(text.split())
    assert seen.text.count(shown) == 8  # title, heading, paragraph, head and cell, item, both kinds of code
    allowed = "html body h1 h2 p div table thead tbody tr th td ul li code pre br"
    assert set(seen.tags) <= set(allowed.split())
    assert seen.tags.count("tr") == 3
    assert seen.tags.count("li") == 1


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from(" |`*_<>[]()#!&;\\~-+.:/é") | st.characters(exclude_categories=["C", "Z"]), min_size=1))
def test_any_cell_stays_one_cell(text):
    page = Page("t")
    page.add(pd.DataFrame({"a": [text], "b": ["1"]}))
    seen = Seen(page.html())
    assert (seen.tags.count("td"), seen.tags.count("th")) == (2, 2)
    assert " ".join(text.split()) in " ".join(seen.text.split())


def test_numbers_are_aligned_right_and_nan_is_empty():
    lines = table(pd.DataFrame({"name": ["a", "b"], "x": ["1.5 ± 0.2", "-"], "y": [2.0, float("nan")]})).splitlines()
    assert lines[1] == "| :--- | ---: | ---: |"
    assert lines[3] == "| b | - |  |"


def test_pictures_are_files_beside_the_markdown_and_inside_the_html():
    page = Page("t")
    page.add(Picture("a.svg", b"<svg/>", "a plot", "what | it shows"))
    assert "![a plot](a.svg)" in page.markdown()
    assert 'src="data:image/svg+xml;base64,PHN2Zy8+"' in page.html()
    assert "a.svg" not in page.html()


def test_plain_numbers_and_names_are_not_disfigured():
    for text in ("-3.05 [-3.42, -2.68]", "SmoothMix_C", "cifar100, resnet18: 72.64 ± 0.29", "p < 0.001"):
        assert escape(text) == text
