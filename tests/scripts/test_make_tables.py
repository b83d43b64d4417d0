"""All tables from hand-made records, through the command; every number is computed anew here."""

import csv
import hashlib
import importlib.util
import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from scipy import stats

from configs.fill import cells_of
from configs.tables import load_table
from smoothmix.corruptions import CORRUPTIONS

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "results" / "paper"
NAMES = ("dataset", "model", "method", "recipe", "config_hash", "seed")
SPEC = importlib.util.spec_from_file_location("make_tables", ROOT / "scripts" / "make_tables.py")
make_tables = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make_tables)


@pytest.fixture(scope="module")
def cells():
    """The cells of each table and preset, composed once."""
    composed = {}

    def of(name, preset="paper"):
        if (name, preset) not in composed:
            composed[name, preset] = cells_of(load_table(name), preset)
        return composed[name, preset]

    return of


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command on tmp_path/records; return exit status, what it printed and complained."""

    def call(*words, folders=("records",)):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["make_tables.py", *folders, *words, "--output", "tables"])
        try:
            make_tables.main()
            status = 0
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return call


def errors_of(cell):
    """Some errors that belong to a cell alone: best and last, top-1 and top-5."""
    number = int(cell.key[4], 16) % 997 / 100 + 1.3 * ((cell.key[5] * 7) % 5) + 0.01 * cell.key[5] ** 3
    return {("best", 1): 10 + number, ("best", 5): 2 + number / 3, ("last", 1): 11 + number, ("last", 5): 2.5 + number}


def write(folder, cell, **changes):
    """Leave the record of a cell's run in `folder`."""
    values = errors_of(cell)
    record = dict(zip(NAMES, cell.key, strict=True)) | {"epochs": 300, "selected_on": "test"}
    for when in ("best", "last"):
        record[when] = {"epoch": 7, "seconds": 1.5, **{f"test_top{k}_error": values[when, k] for k in (1, 5)}}
    directory = folder / "-".join(map(str, cell.key[2:]))
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "summary.json").write_text(json.dumps(record | changes))
    return directory


def write_corrupted(directory, cell, benchmark, errors, kind="files", **changes):
    source = "published files" if kind == "files" else "generated (seed 0)"
    record = dict(zip(NAMES, cell.key, strict=True)) | {"benchmark": benchmark, "weights": "best", "source": source}
    record |= {"epochs": 300, "clean_top1_error": 5.0, "top1_errors": errors}
    (directory / f"best.{benchmark}-{kind}.json").write_text(json.dumps(record | changes))


def read_csv(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def markdown_rows(path):
    lines = [line for line in path.read_text().splitlines() if line.startswith("| ")]
    head, _, *body = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines)
    return {row[0]: dict(zip(head, row, strict=True)) for row in body}


@pytest.mark.parametrize("name", ["1", "2", "3", "6", "7", "8"])
def test_a_complete_table_has_the_means_of_its_records(name, cells, run, tmp_path):
    for cell in cells(name):
        write(tmp_path / "records" / "anywhere", cell)
    assert run("--table", name)[0] == 0
    printed = {row["row"]: row for row in read_csv(PAPER / f"table{name}.csv")}
    ours = read_csv(tmp_path / "tables" / f"table{name}.csv")
    shown = markdown_rows(tmp_path / "tables" / f"table{name}.md")
    metrics = ["top1", "top5"] if name in ("1", "3") else ["top1"]
    assert [(line["row"], line["metric"]) for line in ours] == [(row, metric) for row in printed for metric in metrics]
    for line in ours:
        k, title = int(line["metric"][-1]), f"top-{line['metric'][-1]}"
        of_row = [cell for cell in cells(name) if cell.row == line["row"]]
        best, last = ([errors_of(cell)[when, k] for cell in of_row] for when in ("best", "last"))
        paper, row, n = printed[line["row"]], shown[line["row"]], len(best)
        mean = statistics.mean(best)
        assert n == (1 if name == "3" else 5) == int(line["n"])
        assert float(line["mean"]) == pytest.approx(mean, abs=1e-4)
        assert float(line["last_mean"]) == pytest.approx(statistics.mean(last), abs=1e-4)
        spread = ""
        if n > 1:
            deviation = statistics.stdev(best)
            low, high = stats.t.interval(0.95, n - 1, mean, stats.sem(best))
            assert float(line["std"]) == pytest.approx(deviation, abs=1e-4)
            assert (float(line["low"]), float(line["high"])) == pytest.approx((low, high), abs=1e-4)
            # the quantile of t with 4 degrees of freedom, from a printed table
            assert high - mean == pytest.approx(2.776 * deviation / 5**0.5, rel=1e-3)
            assert row[f"{title}: 95 % interval"] == f"{low:.2f} to {high:.2f}"
            spread = f" ± {deviation:.2f}"
        assert row[f"{title}: ours, best epoch"] == f"{mean:.2f}{spread} ({n})"
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
    page = (tmp_path / "tables" / f"table{name}.md").read_text()
    assert "train.py" not in page
    for source in {row["source"] for row in printed.values() if row["origin"] == "cited"}:
        assert re.search(rf"^†\d cited by the paper from: {re.escape(source)}\.$", page, re.M)


@pytest.mark.parametrize(("name", "benchmark"), [("4", "cifar100_c"), ("5", "imagenet_c")])
def test_tables_of_corrupted_images(name, benchmark, cells, run, tmp_path):
    printed = read_csv(PAPER / f"table{name}.csv")
    members = list(dict.fromkeys((r["category"], r["corruption"]) for r in printed if r["corruption"] != "average"))
    made = {}
    for cell in cells(name):
        directory = write(tmp_path / "records", cell)
        shift = errors_of(cell)["best", 1]
        errors = {c: {s: 30 + shift + place + 2.5 * s for s in range(1, 6)} for place, (_, c) in enumerate(members)}
        made.setdefault(cell.row, []).append(errors)
        write_corrupted(directory, cell, benchmark, errors)
        halved = {c: {s: error / 2 for s, error in of.items()} for c, of in errors.items()}
        write_corrupted(directory, cell, benchmark, halved, "generate")  # another source: never mixed in
    assert run("--table", name)[0] == 0

    def ours(errors, category, corruption, severity):
        levels = range(1, 6) if severity == "average" else [int(severity)]
        chosen = [m for m in members if corruption in (m[1], "average") and category in (m[0], "")]
        of_one = {m: statistics.mean(errors[m[1]][level] for level in levels) for m in chosen}
        if corruption == "average" and not category and name == "5":
            categories = dict.fromkeys(m[0] for m in members)
            return statistics.mean(statistics.mean(v for m, v in of_one.items() if m[0] == c) for c in categories)
        return statistics.mean(of_one.values())

    lines = read_csv(tmp_path / "tables" / f"table{name}.csv")
    assert len(lines) == len(printed)
    by_place = {tuple(line[k] for k in ("category", "corruption", "severity", "method")): line for line in lines}
    for cell in printed:
        place = tuple(cell[k] for k in ("category", "corruption", "severity", "method"))
        values = [ours(errors, *place[:3]) for errors in made[cell["method"]]]
        line = by_place[place]
        assert float(line["ours"]) == pytest.approx(statistics.mean(values), abs=1e-4)
        difference = statistics.mean(values) - float(cell["top1_error"])
        assert float(line["difference"]) == pytest.approx(difference, abs=1e-4)
        if len(values) > 1:
            low, _ = stats.t.interval(0.95, len(values) - 1, statistics.mean(values), stats.sem(values))
            assert float(line["low"]) == pytest.approx(low, abs=1e-4)
    page = (tmp_path / "tables" / f"table{name}.md").read_text()
    assert "Corrupted images: published files." in page
    assert f"Left aside: {len(cells(name))} records of generated (seed 0), one source a table." in page
    assert "eval_corruption.py" not in page


def test_a_part_of_the_seeds(cells, run, tmp_path):
    cutmix = [cell for cell in cells("6") if cell.row == "CutMix"]
    for cell in (cutmix[0], cutmix[3]):
        write(tmp_path / "records", cell)
    assert run("--table", "6")[0] == 0
    values = [errors_of(cell)["best", 1] for cell in (cutmix[0], cutmix[3])]
    rows = markdown_rows(tmp_path / "tables" / "table6.md")
    cell = rows["CutMix"]["top-1: ours, best epoch"]
    expected = f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} (2 of 5)"
    assert cell == f"{expected}; `python train.py -m experiment=cifar100/cutmix seed=1,2,4`"
    empty = rows["SmoothMix_C"]
    assert empty["top-1: ours, best epoch"] == "`python train.py -m experiment=cifar100/smoothmix_c seed=0,1,2,3,4`"
    assert empty["top-1: ours, last epoch"] == empty["top-1: difference"] == "-"
    tex = (tmp_path / "tables" / "table6.tex").read_text()
    assert f"{expected.replace('±', chr(36) + chr(92) + 'pm' + chr(36))}" in tex
    assert r"\texttt{python train.py -m experiment=cifar100/cutmix seed=1,2,4}" in tex


def test_one_run_serves_three_tables(cells, run, tmp_path):
    cell = next(cell for cell in cells("6") if cell.row == "CutMix")
    directory = write(tmp_path / "records" / "deep" / "er", cell)
    write_corrupted(directory, cell, "cifar100_c", {"fog": {1: 20.0, 2: 21.0, 3: 22.0, 4: 23.0, 5: 24.0}})
    assert run("--table", "1", "4", "6")[0] == 0
    number = f"{errors_of(cell)['best', 1]:.2f} (1 of 5)"
    for name, row in (("1", "Cutmix"), ("6", "CutMix")):
        assert markdown_rows(tmp_path / "tables" / f"table{name}.md")[row]["top-1: ours, best epoch"].startswith(number)
    page = (tmp_path / "tables" / "table4.md").read_text()
    assert "| weather | fog | 26.19 / 22.00 / -4.19 | 21.52 / - / - |" in page
    assert "n: CutMix 0 of 5, SmoothMix_C 0 of 5." in page  # one corruption of 19 does not complete a run
    assert "python train.py -m experiment=cifar100/cutmix seed=1,2,3,4    # CutMix" in page
    assert f"python eval_corruption.py run={directory.relative_to(tmp_path)} benchmark=cifar100_c    # CutMix" in page


def test_generated_images_are_used_and_named_where_the_published_are_missing(cells, run, tmp_path):
    cell = cells("5")[0]
    directory = write(tmp_path / "records", cell)
    write_corrupted(directory, cell, "imagenet_c", {"fog": dict.fromkeys(range(1, 6), 40.0)}, "generate")
    run("--table", "5")
    assert "Corrupted images: generated (seed 0)." in (tmp_path / "tables" / "table5.md").read_text()


def test_records_of_another_preset_or_recipe_are_left_aside(cells, run, tmp_path):
    paper, quick = cells("2")[0], cells("2", "quick")[0]
    write(tmp_path / "records" / "a", quick)
    write(tmp_path / "records" / "b", paper, recipe="cifar_cutmix")
    write(tmp_path / "records" / "c", paper, config_hash="0" * 8)
    write(tmp_path / "records" / "d", paper, seed=9)
    status, out, _ = run("--table", "2")
    assert status == 0
    assert "tables/table2.md .tex .csv: 0 of 30 runs" in out
    reasons = "1 of recipe quick, 1 of recipe cifar_cutmix, 1 of recipe cifar with other settings than the table's, "
    assert f"4 records of no row of these tables left aside: {reasons}1 of seed 9." in out


def test_the_quick_tables_hold_quick_runs_only_and_say_so(cells, run, tmp_path):
    for cell in cells("2", "quick"):
        write(tmp_path / "records", cell)
    write(tmp_path / "records", cells("2")[0])
    status, out, _ = run("--table", "2", "--preset", "quick")
    assert status == 0
    assert "6 of 6 runs" in out
    assert "1 record of no row of these tables left aside: 1 of recipe cifar." in out
    page = (tmp_path / "tables" / "table2-quick.md").read_text()
    assert page.splitlines()[0].endswith("(quick preset: scaled down, not the paper's recipe)")
    assert "paper |" not in page
    first = cells("2", "quick")[0]
    cell = markdown_rows(tmp_path / "tables" / "table2-quick.md")[first.row]["top-1: ours, best epoch"]
    assert cell == f"{errors_of(first)['best', 1]:.2f} (1)"


def test_runs_with_words_of_their_own_are_found_with_these_words(cells, run, tmp_path):
    words = ["precision=bf16", "channels_last=true"]
    for cell in cells_of(load_table("6"), "paper", words):
        write(tmp_path / "records", cell)
    assert "0 of 10 runs" in run("--table", "6")[1]
    assert "10 of 10 runs" in run("--table", "6", "--words", *words)[1]
    text = (tmp_path / "tables" / "table6.md").read_text()
    assert text.splitlines()[0].endswith(", with precision=bf16 channels_last=true")
    assert "unknown key precison" in run("--table", "6", "--words", "precison=bf16")[2]


def test_tables_with_words_do_not_overwrite_those_without(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["make_tables.py", ".", "--words", "precision=bf16"])
    with pytest.raises(SystemExit) as stop:
        make_tables.main()
    assert stop.value.code == 2
    assert "need an --output of their own" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_corrupted_errors_of_an_unfinished_run_or_of_other_weights_are_not_shown(cells, run, tmp_path):
    cell = cells("demo")[0]
    directory = write(tmp_path / "records", cell)
    errors = {name: dict.fromkeys("12345", 77.0) for name in CORRUPTIONS}
    (directory / "best.pt").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()[:16]
    write_corrupted(directory, cell, "digits_c", errors, weights_sha256=digest)
    assert run("--table", "demo")[0] == 0
    page = tmp_path / "tables" / "demo.md"
    assert "77.00" in page.read_text()
    record = (directory / "summary.json").read_text()
    (directory / "summary.json").unlink()
    assert run("--table", "demo")[0] == 0
    assert "77.00" not in page.read_text()
    assert "Left aside: 1 records of runs that have no record of their training." in page.read_text()
    (directory / "summary.json").write_text(record)
    (directory / "best.pt").write_bytes(b"other weights")
    status, _, complaint = run("--table", "demo")
    assert status == 2
    assert "is of other weights than" in complaint


def test_the_demo_has_a_column_of_corrupted_images(cells, run, tmp_path):
    for number, cell in enumerate(cells("demo")):
        directory = write(tmp_path / "records", cell)
        errors = {
            name: {s: 10.0 * number + s + place for s in range(1, 6)} for place, name in enumerate(["fog", "snow"])
        }
        if number:
            write_corrupted(directory, cell, "digits_c", errors, "generate")
    assert run("--table", "demo")[0] == 0
    rows = markdown_rows(tmp_path / "tables" / "demo.md")
    command = rows["Baseline"]["corrupted: ours, best epoch"]
    assert re.fullmatch(r"`python eval_corruption.py run=\S+ benchmark=digits_c source=generate`", command)
    assert rows["Cutout"]["corrupted: ours, best epoch"] == "13.50 (1)"
    assert rows["SmoothMix_C"]["top-1: ours, best epoch"] == f"{errors_of(cells('demo')[-1])['best', 1]:.2f} (1)"
    assert "over 2 corruptions" in (tmp_path / "tables" / "demo.md").read_text()


def test_copies_are_fine_and_contradictions_are_not(cells, run, tmp_path):
    cell = cells("2")[0]
    first = write(tmp_path / "records" / "a", cell)
    second = write(tmp_path / "records" / "b", cell)
    assert run("--table", "2")[:2][0] == 0
    write(tmp_path / "records" / "b", cell, last={"test_top1_error": 50.0, "test_top5_error": 9.0})
    status, _, complaint = run("--table", "2")
    assert status == 2
    for path in (first, second):
        assert str(path.relative_to(tmp_path) / "summary.json") in complaint
    assert "seed 0" in complaint
    assert complaint.count("\n") == 1


def test_contradicting_corrupted_records(cells, run, tmp_path):
    cell = cells("5")[0]
    for place, error in (("a", 10.0), ("b", 11.0)):
        directory = write(tmp_path / "records" / place, cell)
        write_corrupted(directory, cell, "imagenet_c", {"fog": {1: error}})
    status, _, complaint = run("--table", "5")
    assert status == 2
    assert complaint.count("best.imagenet_c-files.json") == 2


@pytest.mark.parametrize("text", ["{", "[]", '{"dataset": "cifar10"}', b"\xff"])
def test_a_corrupt_record_is_named(text, cells, run, tmp_path):
    directory = write(tmp_path / "records", cells("2")[0])
    (directory / "summary.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    status, _, complaint = run("--table", "2")
    assert status == 2
    assert complaint.startswith("error: records/")
    assert "summary.json is not a run record" in complaint
    assert complaint.count("\n") == 1


def test_a_record_without_numbers_is_corrupt(cells, run, tmp_path):
    write(tmp_path / "records", cells("2")[0], best={"test_top1_error": "low", "test_top5_error": 1.0})
    assert run("--table", "2")[0] == 2


@pytest.mark.parametrize(
    ("words", "folders", "sentence"),
    [
        (["--table", "9"], ["records"], "there is no table 9; there is 1, 2, 3, 4, 5, 6, 7, 8, demo"),
        (["--table", "2"], ["nowhere"], "there is no folder nowhere"),
        (["--table", "2", "--preset", "fast"], ["records"], "there is no preset fast; there is paper, quick"),
    ],
)
def test_mistakes_are_one_sentence(words, folders, sentence, run, tmp_path):
    (tmp_path / "records").mkdir()
    assert run(*words, folders=folders) == (2, "", f"error: {sentence}\n")


def test_every_line_of_the_latex_table_has_all_columns(cells, run, tmp_path):
    (tmp_path / "records").mkdir()
    run("--table", "5", "7")
    for name in ("5", "7"):
        tex = (tmp_path / "tables" / f"table{name}.tex").read_text()
        columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", tex)[1])
        lines = [line for line in tex.splitlines() if line.endswith(r"\\")]
        assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {columns}
        assert tex.count("{") == tex.count("}")
        assert not re.search(r"(?<!\\)[_%#](?! needs)", tex.replace(r"\label{tab:", ""))


def test_the_committed_tables_are_current(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    index = tmp_path / "results" / "README.md"
    for path in sorted((ROOT / "results").glob("*/README.md")):  # the index lists them
        (tmp_path / "results" / path.parent.name).mkdir(parents=True)
        shutil.copy(path, tmp_path / "results" / path.parent.name)
    output = str(tmp_path / "results" / "tables")
    words = ["make_tables.py", "results", "--output", output, "--readme", str(index)]
    monkeypatch.setattr(sys, "argv", words)
    make_tables.main()
    made = [*sorted((tmp_path / "results" / "tables").iterdir()), index]
    assert len(made) == 25
    for path in made:
        committed = ROOT / path.relative_to(tmp_path)
        assert path.read_text() == committed.read_text(), f"{committed}: run python scripts/make_tables.py results"


def test_help_is_there_without_torch():
    code = (
        "import sys, runpy; sys.argv = ['make_tables.py', '--help']\n"
        "try: runpy.run_path('scripts/make_tables.py', run_name='__main__')\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("False\n"), done.stderr
