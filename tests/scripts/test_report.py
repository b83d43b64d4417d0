"""The command report.py on hand-made records: a study and again from its files, tables, cards, and mistakes."""

import json
import math
import re
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scripts.reproduction.reported
from scripts.reproduction.tables import load_table, table_runs
from smoothmix.corruptions import CORRUPTIONS
from smoothmix.reporting.claims import ENDPOINTS
from tests.commands import ROOT, python, said
from tests.scripts import hand_made


@pytest.fixture(scope="module")
def low_data():
    return table_runs(load_table("low_data"))


@pytest.fixture
def report(low_data, tmp_path, monkeypatch):
    """Run the command in tmp_path; return exit status, what it printed and complained."""
    compose = scripts.reproduction.reported.table_runs
    known = lambda table, *rest: low_data if table.name == "low_data" else compose(table, *rest)  # noqa: E731
    monkeypatch.setattr(scripts.reproduction.reported, "table_runs", known)
    return lambda *arguments: said("scripts/report.py", *arguments, folder=tmp_path)


def errors(cell):
    """Last, best and corrupted error of a run; SmoothMix_C is best."""
    level = 40.0 - 3 * (cell.row == "SmoothMix_C") - 2 * (cell.row == "CutMix")
    seed = cell.key[-1] % 100
    last = level + 0.7 * seed + 0.2 * math.sin(7 * seed + len(cell.row))
    return last, last - 0.25, last + 20


def write(folder, cell, weights="last", **changes):
    last, best, mean = errors(cell)
    row = {"test_top5_error": 3.0, "test_loss": 1.5, "train_loss": 0.1}
    facts = {"seconds": 60.0, "device": "drawn", "precision": "fp32", "git_commit": "0123456789abcdef", "parameters": 7}
    facts |= {"best": row | {"test_top1_error": best}, "last": row | {"test_top1_error": last}}
    place = hand_made.write(folder, cell, **facts | changes)
    log = [{"epoch": 1, "train_loss": 1.0}]
    for epoch, worse in ((2, 5), (3, 0)):
        log.append({"epoch": epoch, "train_loss": 0.1, "test_top1_error": last + worse, "test_loss": 1})
    (place / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    # the four noises 10 points above the others, severities 2 points apart
    noises = {name: 10 * (CORRUPTIONS[name].category == "noise") for name in CORRUPTIONS}
    shift = sum(noises.values()) / len(noises)
    cells = {
        name: {str(level): mean - shift + noise + 2 * (level - 3) for level in range(1, 6)}
        for name, noise in noises.items()
    }
    changes = {"source": "generated (seed 0), 2000 of 10000 images", "clean_top1_error": last + 1, "images": 2000}
    hand_made.write_corrupted(place, cell, "cifar100_c", cells, "generate-2000", weights=weights, **changes)
    return place


def test_a_study_from_records_and_again_from_its_files(report, low_data, tmp_path):
    for cell in low_data[:-1]:
        write(tmp_path / "runs", cell)
    write(tmp_path / "runs" / "other", low_data[-1], method="another")
    status, out, complaint = report("table=low_data", "runs", "--output", "study", "--html", "page.html")
    assert (status, complaint) == (0, "")
    verdicts = pd.read_csv(tmp_path / "study" / "claims.csv").set_index("id")
    ours, baseline = (
        [errors(cell)[0] for cell in low_data if cell.row == row] for row in ("SmoothMix_C", "Baseline")
    )
    assert verdicts.loc["c-baseline", "p"] == pytest.approx(stats.ttest_rel(ours, baseline).pvalue)
    assert verdicts.loc["c-baseline", "verdict"] == "supported"
    noise = [errors(cell)[2] - 40 / 19 + 10 for cell in low_data if cell.row == "CutMix"]
    assert f"{np.mean(noise):.2f} ± {np.std(noise, ddof=1):.2f}" in out
    curves = pd.read_csv(tmp_path / "study" / "curves.csv")
    (line,) = curves[(curves["label"] == "Baseline") & (curves["epoch"] == 3)].itertuples()
    assert set(curves["epoch"]) == {2, 3}  # epoch 1 was not evaluated
    assert (line.n, line.test_top1_error) == (8, pytest.approx(np.mean(baseline)))
    assert line.test_top1_error_std == pytest.approx(np.std(baseline, ddof=1))
    page = (tmp_path / "study" / "README.md").read_text()
    assert "generated (seed 0), 2000 of 10000 images, last weights" in page
    assert "another" not in page

    names = {"README.md", *(f"{name}.csv" for name in ("claims", "runs", "errors", "curves"))}
    names |= {f"{figure}.svg" for figure in ("differences", "curves", "corruptions", "severities")}
    before = {path.name: path.read_bytes() for path in (tmp_path / "study").iterdir()}
    assert before.keys() == names
    shutil.rmtree(tmp_path / "runs")
    for name in names - {"runs.csv", "errors.csv", "curves.csv"}:
        (tmp_path / "study" / name).unlink()
    (tmp_path / "study" / "notes.md").write_text("One run was *repeated*.\n")
    (tmp_path / "study" / "plan.md").write_text("# Plan\n")
    assert report("table=low_data", "study", "--output", "study", "--html", "page.html")[0] == 0
    again = {name: (tmp_path / "study" / name).read_bytes() for name in names}
    page = again.pop("README.md").decode().replace("low_data study", "low_data runs")
    notes = "\n\nOne run was *repeated*.\n\nBeside this page: [plan.md](plan.md)."
    assert notes in page
    assert page.replace(notes, "") == before.pop("README.md").decode()
    assert again == before


def test_only_the_weights_of_the_table_count(report, low_data, tmp_path):
    cells = [cell for cell in low_data if cell.row in ("CutMix", "SmoothMix_C")]
    for number, cell in enumerate(cells):
        write(tmp_path / "runs", cell, weights="best" if number == 3 else "last")
    assert report("table=low_data", "runs", "--output", "study")[0] == 0
    claims = pd.read_csv(tmp_path / "study" / "claims.csv").set_index("id")
    assert (claims.loc["c-cutmix-clean", "n"], claims.loc["c-cutmix-corrupted", "n"]) == (8, 7)


def test_all_tables_are_always_written(report, tmp_path):
    (tmp_path / "runs").mkdir()
    status, out, _ = report("runs")
    assert status == 0
    assert "train.py" in out
    folder = tmp_path / "outputs" / "report"
    text = (folder / "tables.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        f"## Table {number}: {load_table(str(number)).title}" for number in range(1, 9)
    ]
    assert "python train.py -m experiment=cifar100/smoothmix_c seed=0,1,2,3,4" in text
    assert (folder / "tables.tex").read_text().count(r"\toprule") == 8
    numbers = pd.read_csv(folder / "tables.csv")
    assert set(numbers["table"]) == {f"table{number}" for number in range(1, 9)}
    assert numbers["paper"].notna().any()
    assert "Audit of the paper" in (folder / "index.html").read_text()


def test_the_default_folders_are_outputs_and_results(report, low_data, tmp_path):
    write(tmp_path / "results", low_data[0])
    assert "Baseline" in report("table=low_data")[1]


def test_a_damaged_file_beside_whole_ones(report, low_data, tmp_path):
    place = write(tmp_path / "runs", low_data[0])
    (place / "metrics.jsonl").write_text("[]\n")
    status, out, complaint = report("table=low_data", "runs")
    assert (status, "metrics.jsonl" in complaint, "Baseline" in out) == (2, True, True)


@pytest.mark.slow
def test_the_commands_of_the_page_on_claims(tmp_path):
    text = (ROOT / "docs" / "claims.md").read_text()
    for line in re.findall(r"^    python scripts/(.*)$", text, re.M):
        program, *arguments = shlex.split(line)
        done = python(ROOT / "scripts" / program, *arguments, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "outputs" / "digits_study" / "README.md").read_text()
    assert "SmoothMix_C / Baseline" in page


def test_the_page_on_claims_lists_all_endpoints():
    text = (ROOT / "docs" / "claims.md").read_text()
    (endpoints,) = re.findall(r"^\| `endpoint` \| (.*) \|$", text, re.M)
    assert set(re.findall(r"`(\w+)`", endpoints)) == set(ENDPOINTS)
