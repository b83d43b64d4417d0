from pathlib import Path

import pandas as pd
import pytest

from smoothmix.evaluation.averages import ALEXNET
from smoothmix.reporting.corruption_tables import compare, read_paper, text
from smoothmix.reporting.markup import markdown
from tests.reporting.made import corrupted

PAPER = Path(__file__).parents[2] / "results" / "paper"


def record(method, errors, seed=0):
    return corrupted(method, top1_errors=errors, seed=seed)


def value(table, corruption, method, severity="average", category=None):
    rows = table[(table.corruption == corruption) & (table.method == method) & (table.severity == severity)]
    if category is not None:
        rows = rows[rows.category == category]
    (row,) = rows.itertuples()
    return row


def flat(table, error):
    names = [name for name in dict.fromkeys(table["corruption"]) if name != "average"]
    return {name: {severity: error + severity for severity in range(1, 6)} for name in names}


def test_table_4_has_the_papers_rows_and_our_means():
    paper = read_paper(PAPER / "table4.csv")
    errors = flat(paper, 40.0)
    errors["fog"] = {severity: 20.0 for severity in range(1, 6)}
    table = compare([record("smoothmix_c", errors), record("identity", flat(paper, 10.0))], paper, by_category=False)
    fog = value(table, "fog", "smoothmix_c")
    assert (fog.paper, fog.ours, fog.n) == (21.52, 20.0, 1)
    assert fog.difference == pytest.approx(-1.52)
    assert pd.isna(value(table, "fog", "cutmix").ours)
    assert pd.isna(value(table, "fog", "identity").paper)
    assert value(table, "average", "smoothmix_c").ours == pytest.approx((18 * 43 + 20) / 19)
    assert list(dict.fromkeys(table["corruption"]))[:3] == ["gaussian_noise", "shot_noise", "impulse_noise"]

    page = markdown(text(table))
    (line,) = [line for line in page.splitlines() if "| fog |" in line]
    assert line == "| weather | fog | 13.00 | 26.19 / - / - | 21.52 / 20.00 / -1.52 |"
    assert page.splitlines()[0] == "| category | corruption | Baseline | CutMix | SmoothMix_C |"


def test_table_5_averages_categories_and_levels():
    paper = read_paper(PAPER / "table5.csv")
    errors = {name: dict(enumerate(cells, 1)) for name, cells in ALEXNET.items()}
    table = compare([record("cutmix", errors)], paper, by_category=True)
    noise = [sum(ALEXNET[name]) / 5 for name in ("gaussian_noise", "shot_noise", "impulse_noise")]
    assert value(table, "average", "cutmix", category="noise").ours == pytest.approx(sum(noise) / 3)
    level_2 = value(table, "average", "cutmix", "2", category="noise").ours
    assert level_2 == pytest.approx((82.542 + 85.108 + 89.808) / 3)
    categories = [value(table, "average", "cutmix", category=c).ours for c in ("noise", "blur", "weather", "digital")]
    overall = value(table, "average", "cutmix", category="").ours
    assert overall == pytest.approx(sum(categories) / 4)
    assert overall != pytest.approx(sum(sum(cells) for cells in ALEXNET.values()) / 75, abs=0.1)
    assert "| CutMix, level 1 |" in markdown(text(table)).splitlines()[0]


def test_the_paper_compared_with_itself_differs_by_rounding():
    paper = read_paper(PAPER / "table5.csv")
    cells = paper[(paper.corruption != "average") & (paper.severity != "average")]
    records = []
    for method, rows in cells.groupby("method"):
        errors = {}
        for row in rows.itertuples():
            errors.setdefault(row.corruption, {})[int(row.severity)] = row.top1_error
        records.append(record(method, errors))
    table = compare(records, paper, by_category=True)
    assert len(table) == len(paper)
    assert table["difference"].abs().max() < 0.011


def test_seeds_are_averaged_and_a_missing_cell_is_not_hidden():
    paper = read_paper(PAPER / "table4.csv")
    records = [record("cutmix", flat(paper, error), seed) for seed, error in enumerate((10.0, 20.0, 30.0))]
    row = value(compare(records, paper, by_category=False), "fog", "cutmix")
    assert (row.ours, row.n) == (23.0, 3)
    assert row.std == pytest.approx(10.0)
    del records[1].top1_errors["fog"][4]
    table = compare(records, paper, by_category=False)
    assert pd.isna(value(table, "fog", "cutmix").ours)
    assert pd.isna(value(table, "average", "cutmix").ours)
    assert value(table, "snow", "cutmix").ours == 23.0
