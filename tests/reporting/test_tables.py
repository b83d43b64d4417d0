"""Filled tables: golden cells typed by hand, and all numbers of Tables 4 and 5 against a slow loop."""

import statistics
from functools import cache
from pathlib import Path

import pytest

from scripts.reproduction.tables import load_table, table_runs
from smoothmix.evaluation.averages import CATEGORIES
from smoothmix.reporting.page import Markdown
from smoothmix.reporting.tables import fill, read_corrupted
from tests.reporting.made import lines_of, results, run_line

PAPER = Path(__file__).parents[2] / "results" / "paper"


@cache
def cells(name):
    return table_runs(load_table(name))


def run_of(cell, last, **changes):
    errors = {"best_top1": last - 1, "best_top5": 3.0, "last_top1": last, "last_top5": 4.0}
    return run_line() | {"run": cell.run} | errors | changes


def filled(name, runs, errors=(), **options):
    table = load_table(name)
    paper = PAPER / f"table{name}.csv" if name.isdigit() else None
    return fill(f"table{name}", "T", cells(name), results(runs, errors), table.evaluation, paper, **options)


def row(table, name, metric="top-1"):
    text = table.text.assign(row=table.text["row"].replace("", None).ffill())
    (line,) = text[(text["row"] == name) & (text["error (%)"] == metric)].to_dict("records")
    return line


def test_golden_cells_of_table_1():
    of = {name: [cell for cell in cells("1") if cell.row == name] for name in ("Cutmix", "SmoothMix_C")}
    runs = [run_of(cell, last) for cell, last in zip(of["SmoothMix_C"], (15.0, 15.4, 15.8), strict=False)]
    runs += [run_of(cell, 16.0) for cell in of["Cutmix"]]
    table = filled("1", runs)
    assert row(table, "SmoothMix_C") == {
        "row": "SmoothMix_C", "error (%)": "top-1", "paper": "14.47", "ours, best epoch": "14.40 ± 0.40",
        "difference": "-0.07", "95 % interval of ours": "[13.41, 15.39]", "ours, last epoch": "15.40 ± 0.40",
        "n": "3 of 5",
    }  # fmt: skip
    assert row(table, "Cutmix")["paper"] == "14.47 †1"
    assert row(table, "Cutmix", "top-5")["ours, best epoch"] == "3.00 ± 0.00"
    assert "†1 cited by the paper from: CutMix paper, Table 5." in table.notes
    empty = row(table, "Cutout")["ours, best epoch"]
    assert isinstance(empty, Markdown)
    assert "python train.py -m experiment=cifar100/cutout seed=0,1,2,3,4" in empty
    assert table.runs == (8, 50)
    assert [command for name, command in table.commands if name == "SmoothMix_C"] == [
        "python train.py -m experiment=cifar100/smoothmix_c seed=3,4"
    ]


def test_tables_7_and_8_compare_the_best_run_too():
    of = [cell for cell in cells("7") if cell.row == "SmoothMix"]
    table = filled("7", [run_of(cell, last) for cell, last in zip(of, (16.0, 15.4, 15.8), strict=False)])
    line = row(table, "SmoothMix", "top-1, best run")
    assert (line["paper"], line["ours, best epoch"], line["difference"]) == ("14.47", "14.40", "-0.07")
    assert row(table, "SmoothMix")["paper"] == "14.81 ± 0.26"


def errors(cell, shift, names, benchmark, images=10000, source="published files", weights="best"):
    values = {name: [20 + shift + 3 * place % 11 + level**2 for level in range(5)] for place, name in enumerate(names)}
    identity = {"run": cell.run, "images": images, "source": source, "weights": weights}
    return values, [line | identity for line in lines_of(values, benchmark=benchmark)]


@pytest.mark.parametrize("name", ["4", "5"])
def test_corrupted_tables_against_a_slow_loop(name):
    table = load_table(name)
    names, benchmark = table.evaluation.corruptions, table.benchmark
    of = [cell for cell in cells(name) if cell.row == "smoothmix_c"][:3]
    found = [errors(cell, seed, names, benchmark) for seed, cell in enumerate(of)]
    printed = read_corrupted(PAPER / f"table{name}.csv")
    filled_table = filled(name, [run_of(cell, 15.0) for cell in of], [line for _, lines in found for line in lines])
    members = printed[printed["corruption"] != "average"].drop_duplicates("corruption")
    groups = {category: list(members[members["category"] == category]["corruption"]) for category in CATEGORIES}

    def value(cells_of, corruption, category, severity):
        def error(one):
            return statistics.fmean(cells_of[one]) if severity == "average" else cells_of[one][int(severity) - 1]

        if corruption != "average":
            return error(corruption)
        if category:
            return statistics.fmean(map(error, groups[category]))
        if name == "5":  # Average.All: a mean of category means
            return statistics.fmean(statistics.fmean(map(error, group)) for group in groups.values())
        return statistics.fmean(map(error, cells_of))

    ours = filled_table.numbers[filled_table.numbers["method"] == "smoothmix_c"]
    assert len(ours) == len(printed) / 2
    for line in ours.itertuples():
        expected = [value(cells_of, line.corruption, line.category, line.severity) for cells_of, _ in found]
        assert (line.n, line.mean) == (len(of), pytest.approx(statistics.fmean(expected)))
        assert line.difference == pytest.approx(line.mean - line.paper)
    assert len(filled_table.text) == len(printed.drop_duplicates(["category", "corruption"]))


def test_one_source_a_table_and_only_its_weights_and_images():
    table = load_table("4")
    names, of = table.evaluation.corruptions, [cell for cell in cells("4") if cell.row == "cutmix"]
    runs = [run_of(cell, 15.0, test_images=10000) for cell in of]
    generated = {"source": "generated (seed 0)"}
    lines = errors(of[0], 0, names, "cifar100_c")[1]
    lines += [line for cell in of for line in errors(cell, 50, names, "cifar100_c", **generated)[1]]
    lines += errors(of[1], 70, names, "cifar100_c", weights="last")[1]
    lines += errors(of[2], 70, names, "cifar100_c", images=2000)[1]
    found = filled("4", runs, lines)
    assert found.counts["cutmix"] == (1, 5)
    assert any("5 evaluations on generated (seed 0)" in note for note in found.notes)
    assert filled("4", runs, lines, source="generate").counts["cutmix"] == (5, 5)
    of_run = [command for row, command in found.commands if row == "cutmix"]
    assert len(of_run) == 4
    assert all("eval_corruption.py" in command and "benchmark=cifar100_c" in command for command in of_run)


def test_latex_has_no_commands_and_escapes():
    text = filled("6", []).latex()
    assert "python" not in text
    assert r"SmoothMix\_C" in text
    assert r"\toprule" in text
