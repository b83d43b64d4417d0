"""Tables 4 and 5 where a number is missing, and from the paper's own errors; the rest is tested through the command."""

from pathlib import Path

import pandas as pd
import pytest

from smoothmix.reporting.corruption_tables import compare, read_paper, text
from smoothmix.reporting.markup import markdown
from tests.reporting.made import corrupted

PAPER = Path(__file__).parents[2] / "results" / "paper"


def value(table, corruption, method):
    (row,) = table[(table.corruption == corruption) & (table.method == method)].itertuples()
    return row


def test_the_paper_compared_with_itself_differs_by_rounding():
    paper = read_paper(PAPER / "table5.csv")
    cells = paper[(paper.corruption != "average") & (paper.severity != "average")]
    records = []
    for method, rows in cells.groupby("method"):
        errors = {}
        for row in rows.itertuples():
            errors.setdefault(row.corruption, {})[int(row.severity)] = row.top1_error
        records.append(corrupted(method, top1_errors=errors))
    table = compare(records, paper, by_category=True)
    assert len(table) == len(paper)
    assert table["difference"].abs().max() < 0.011
    assert list(table["corruption"].drop_duplicates()) == list(paper["corruption"].drop_duplicates())


def test_seeds_are_averaged_and_a_missing_cell_is_not_hidden():
    paper = read_paper(PAPER / "table4.csv")
    records = [corrupted("cutmix", error, seed=seed) for seed, error in enumerate((10.0, 20.0, 30.0))]
    row = value(compare(records, paper, by_category=False), "fog", "cutmix")
    assert (row.ours, row.n) == (23.0, 3)
    assert row.std == pytest.approx(10.0)
    del records[1].top1_errors["fog"][4]
    table = compare([*records, corrupted("identity")], paper, by_category=False)
    assert pd.isna(value(table, "fog", "cutmix").ours)
    assert pd.isna(value(table, "average", "cutmix").ours)
    assert value(table, "snow", "cutmix").ours == 23.0
    assert pd.isna(value(table, "fog", "identity").paper)
    page = markdown(text(table)).splitlines()
    assert page[0] == "| category | corruption | Baseline | CutMix | SmoothMix_C |"
    assert "| weather | fog | 33.00 | 26.19 / - / - | 21.52 / - / - |" in page
