"""All tables from hand-made records, through the command; every number is computed anew here."""

import re
import statistics

import pytest
from scipy import stats

from smoothmix.corruptions import CORRUPTIONS
from tests.commands import ROOT, said
from tests.scripts import hand_made

PAPER = ROOT / "results" / "paper"


@pytest.mark.parametrize("part", [False, True], ids=["complete", "a part"])
@pytest.mark.parametrize("name", ["1", "2", "3", "6", "7", "8"])
def test_rows_have_the_means_of_their_records_and_commands_for_the_rest(name, part, cells, run, tmp_path):
    kept = cells(name)
    if part:
        kept = [cell for cell in kept if cell.key.seed in (0, 2) and cell.key.method not in ("smoothmix_c", "mixup")]
    for cell in kept:
        hand_made.write(tmp_path / "records" / "anywhere", cell)
    assert run("--table", name)[0] == 0
    printed = {row["row"]: row for row in hand_made.read_csv(PAPER / f"table{name}.csv")}
    ours = hand_made.read_csv(tmp_path / "tables" / f"table{name}.csv")
    shown = hand_made.markdown_rows(tmp_path / "tables" / f"table{name}.md")
    metrics = ["top1", "top5"] if name in ("1", "3") else ["top1"]
    assert [(line["row"], line["metric"]) for line in ours] == [(row, metric) for row in printed for metric in metrics]
    for line in ours:
        k, title = int(line["metric"][-1]), f"top-{line['metric'][-1]}"
        of_row = [cell for cell in cells(name) if cell.row == line["row"]]
        there = [hand_made.errors_of(cell) for cell in of_row if cell in kept]
        best, last = ([errors[when, k] for errors in there] for when in ("best", "last"))
        paper, row, n, seeds = printed[line["row"]], shown[line["row"]], len(best), len(of_row)
        assert (int(line["n"]), seeds) == (n, 1 if name == "3" else 5)
        command = ""
        if k == 1 and (missing := [str(cell.key.seed) for cell in of_row if cell not in kept]):
            many, given = "-m " if len(missing) > 1 else "", " ".join(of_row[0].overrides[:-1])
            command = f"`python train.py {many}{given} seed={','.join(missing)}`"
        if not n:
            assert row[f"{title}: ours, best epoch"] == (command or "-")
            assert row[f"{title}: ours, last epoch"] == row[f"{title}: difference"] == "-"
            continue
        mean = statistics.mean(best)
        assert float(line["mean"]) == pytest.approx(mean, abs=1e-4)
        assert float(line["last_mean"]) == pytest.approx(statistics.mean(last), abs=1e-4)
        spread = ""
        if n > 1:
            deviation = statistics.stdev(best)
            low, high = stats.t.interval(0.95, n - 1, mean, stats.sem(best))
            assert float(line["std"]) == pytest.approx(deviation, abs=1e-4)
            assert (float(line["low"]), float(line["high"])) == pytest.approx((low, high), abs=1e-4)
            # the quantiles of t with 4 degrees of freedom and with 1, from a printed table
            assert high - mean == pytest.approx({5: 2.776, 2: 12.71}[n] * deviation / n**0.5, rel=1e-3)
            assert row[f"{title}: 95 % interval"] == f"[{low:.2f}, {high:.2f}]"
            spread = f" ± {deviation:.2f}"
        found = f"{mean:.2f}{spread} ({n})" if n == seeds else f"{mean:.2f}{spread} ({n} of {seeds})"
        assert row[f"{title}: ours, best epoch"] == "; ".join(filter(None, [found, command]))
        if number := paper[line["metric"]]:
            assert row[f"{title}: paper"].split()[0] == f"{float(number):.2f}"
            assert row[f"{title}: difference"] == f"{mean - float(number):+.2f}"
            assert ("†" in row[f"{title}: paper"]) == (paper["origin"] == "cited")
        else:
            assert row[f"{title}: paper"] == row[f"{title}: difference"] == "-"
        if name in ("6", "7", "8") and paper["std"]:
            assert f"± {paper['std']}" in row["top-1: paper"]
        if name in ("7", "8"):
            assert row["top-1: ours, best run"] == f"{min(best):.2f}"
            assert row["top-1: paper, best run"] == (paper["best"] or "-")
    page, tex = (tmp_path / "tables" / f"table{name}.{kind}" for kind in ("md", "tex"))
    if part:
        command = r"\\texttt\{python train\.py (-m )?experiment=\w+/\\allowbreak\{\}\w+ .*seed=\d"
        assert re.search(command, tex.read_text())
    else:
        assert "train.py" not in page.read_text()
        assert hand_made.latex_lines(tex) == hand_made.markdown_lines(page)
    for source in {row["source"] for row in printed.values() if row["origin"] == "cited"}:
        assert re.search(rf"^†\d cited by the paper from: {re.escape(source)}\.$", page.read_text(), re.M)


@pytest.mark.parametrize("part", [False, True], ids=["complete", "a part"])
@pytest.mark.parametrize(("name", "benchmark"), [("4", "cifar100_c"), ("5", "imagenet_c")])
def test_tables_of_corrupted_images(name, benchmark, part, cells, run, tmp_path):
    printed = hand_made.read_csv(PAPER / f"table{name}.csv")
    members = list(dict.fromkeys((r["category"], r["corruption"]) for r in printed if r["corruption"] != "average"))
    made = {"cutmix": [], "smoothmix_c": []}
    of_row = len(cells(name)) // 2
    for cell in cells(name)[: 1 if part else None]:
        directory = hand_made.write(tmp_path / "records", cell)
        shift = hand_made.errors_of(cell)["best", 1]
        errors = {c: {s: 30 + shift + place + 2.5 * s for s in range(1, 6)} for place, (_, c) in enumerate(members)}
        made[cell.row].append(errors)
        hand_made.write_corrupted(directory, cell, benchmark, errors)
        halved = {c: {s: error / 2 for s, error in of.items()} for c, of in errors.items()}
        hand_made.write_corrupted(directory, cell, benchmark, halved, "generate")  # another source: never mixed in
    assert run("--table", name)[0] == 0

    def ours(errors, category, corruption, severity):
        levels = range(1, 6) if severity == "average" else [int(severity)]
        chosen = [m for m in members if corruption in (m[1], "average") and category in (m[0], "")]
        of_one = {m: statistics.mean(errors[m[1]][level] for level in levels) for m in chosen}
        if corruption == "average" and not category and name == "5":
            categories = dict.fromkeys(m[0] for m in members)
            return statistics.mean(statistics.mean(v for m, v in of_one.items() if m[0] == c) for c in categories)
        return statistics.mean(of_one.values())

    lines = hand_made.read_csv(tmp_path / "tables" / f"table{name}.csv")
    assert len(lines) == len(printed)
    head, *shown = hand_made.markdown_lines(tmp_path / "tables" / f"table{name}.md")
    assert hand_made.latex_lines(tmp_path / "tables" / f"table{name}.tex") == [head, *shown]
    texts = {(*row[:2], column): text for row in shown for column, text in zip(head, row, strict=True)}
    titles = {"cutmix": "CutMix", "smoothmix_c": "SmoothMix_C"}
    by_place = {tuple(line[k] for k in ("category", "corruption", "severity", "method")): line for line in lines}
    for cell in printed:
        place = tuple(cell[k] for k in ("category", "corruption", "severity", "method"))
        values = [ours(errors, *place[:3]) for errors in made[cell["method"]]]
        line, column = by_place[place], titles[place[3]] + ("" if place[2] == "average" else f", level {place[2]}")
        if not values:
            assert texts[(*place[:2], column)] == f"{float(cell['top1_error']):.2f} / - / -"
            continue
        assert float(line["ours"]) == pytest.approx(statistics.mean(values), abs=1e-4)
        difference = statistics.mean(values) - float(cell["top1_error"])
        assert float(line["difference"]) == pytest.approx(difference, abs=1e-4)
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        number = f"{float(cell['top1_error']):.2f}"
        text = f"{number} / {statistics.mean(values):.2f}{spread} / {difference:+.2f}"
        assert texts[(*place[:2], column)] == text
        if len(values) > 1:
            low, _ = stats.t.interval(0.95, len(values) - 1, statistics.mean(values), stats.sem(values))
            assert float(line["low"]) == pytest.approx(low, abs=1e-4)
    page = (tmp_path / "tables" / f"table{name}.md").read_text()
    assert "Corrupted images: published files." in page
    assert f"Ignored: {sum(map(len, made.values()))} records of generated (seed 0), one source a table." in page
    counts = [f"{title} {len(made[row])} of {of_row}" for row, title in titles.items()]
    assert f"n: {', '.join(counts)}." in page
    assert ("eval_corruption.py" in page) == part


def test_one_run_serves_three_tables(cells, run, tmp_path):
    cell = next(cell for cell in cells("6") if cell.row == "CutMix")
    directory = hand_made.write(tmp_path / "records" / "deep" / "er", cell)
    hand_made.write_corrupted(directory, cell, "cifar100_c", {"fog": {1: 20.0, 2: 21.0, 3: 22.0, 4: 23.0, 5: 24.0}})
    assert run("--table", "1", "4", "6")[0] == 0
    number = f"{hand_made.errors_of(cell)['best', 1]:.2f} (1 of 5)"
    for name, row in (("1", "Cutmix"), ("6", "CutMix")):
        rows = hand_made.markdown_rows(tmp_path / "tables" / f"table{name}.md")
        assert rows[row]["top-1: ours, best epoch"].startswith(number)
    page = (tmp_path / "tables" / "table4.md").read_text()
    assert "| weather | fog | 26.19 / 22.00 / -4.19 | 21.52 / - / - |" in page
    assert "n: CutMix 0 of 5, SmoothMix_C 0 of 5." in page  # one corruption of 19 does not complete a run
    assert "python train.py -m experiment=cifar100/cutmix seed=1,2,3,4    # CutMix" in page
    assert f"python eval_corruption.py run={directory.relative_to(tmp_path)} benchmark=cifar100_c    # CutMix" in page


def test_generated_images_are_used_and_named_where_the_published_are_missing(cells, run, tmp_path):
    cell = cells("5")[0]
    directory = hand_made.write(tmp_path / "records", cell)
    hand_made.write_corrupted(directory, cell, "imagenet_c", {"fog": dict.fromkeys(range(1, 6), 40.0)}, "generate")
    run("--table", "5")
    assert "Corrupted images: generated (seed 0)." in (tmp_path / "tables" / "table5.md").read_text()


def test_the_quick_tables_hold_quick_runs_only_and_say_so(cells, run, tmp_path):
    for cell in cells("2", "quick"):
        hand_made.write(tmp_path / "records", cell)
    hand_made.write(tmp_path / "records", cells("2")[0])
    status, out, _ = run("--table", "2", "--preset", "quick")
    assert status == 0
    assert "6 of 6 runs" in out
    assert "1 record of no row of these tables ignored: 1 of recipe cifar." in out
    page = (tmp_path / "tables" / "table2-quick.md").read_text()
    assert page.splitlines()[0].endswith("(quick preset: scaled down, not the paper's recipe)")
    assert "paper |" not in page
    first = cells("2", "quick")[0]
    cell = hand_made.markdown_rows(tmp_path / "tables" / "table2-quick.md")[first.row]["top-1: ours, best epoch"]
    assert cell == f"{hand_made.errors_of(first)['best', 1]:.2f} (1)"


def test_the_demo_has_a_column_of_corrupted_images(cells, run, tmp_path):
    for number, cell in enumerate(cells("demo")):
        directory = hand_made.write(tmp_path / "records", cell)
        errors = {name: {s: 10.0 * number + s + place for s in range(1, 6)} for place, name in enumerate(CORRUPTIONS)}
        if number == 2:
            del errors["frost"]
        if number:
            hand_made.write_corrupted(directory, cell, "digits_c", errors, "generate-80")
    assert run("--table", "demo")[0] == 0
    rows = hand_made.markdown_rows(tmp_path / "tables" / "demo.md")
    command = rows["Baseline"]["corrupted: ours, best epoch"]
    assert re.fullmatch(r"`python eval_corruption.py run=\S+ benchmark=digits_c source=generate images=80`", command)
    assert rows["Cutout"]["corrupted: ours, best epoch"] == "22.00 (1)"  # 10 + the means of 1..5 and of 0..18
    assert rows["Mixup"]["corrupted: ours, best epoch"].startswith("`python eval_corruption.py run=")  # no frost
    error = hand_made.errors_of(cells("demo")[-1])["best", 1]
    assert rows["SmoothMix_C"]["top-1: ours, best epoch"] == f"{error:.2f} (1)"
    assert "over 19 corruptions" in (tmp_path / "tables" / "demo.md").read_text()


def test_by_default_nothing_that_is_committed_changes(cells, run, tmp_path):
    hand_made.write(tmp_path / "outputs" / "here", cells("6")[0])
    status, out, _ = said("scripts/make_tables.py", folder=tmp_path)
    assert status == 0
    assert "No record was ignored." in out
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]
    made = {path.name for path in (tmp_path / "outputs" / "tables").iterdir()}
    pages = {f"table{name}.{kind}" for name in "146" for kind in ("md", "tex", "csv")}  # Table 1 and 4 have the row too
    assert made == {"README.md", *pages}
    index = (tmp_path / "outputs" / "tables" / "README.md").read_text()
    assert "[md](./table6.md) [tex](./table6.tex) [csv](./table6.csv)" in index
    assert "| 0 of 6 | 0 of 30 | `python scripts/reproduce.py table=2` |" in index
