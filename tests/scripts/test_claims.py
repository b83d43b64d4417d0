"""The command claims.py on hand-made records: frames, verdicts, plan, and the pages again from the files alone."""

import json
import math
import re
import shlex
import shutil
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scripts.reproduction.studies
from scripts.reproduction.claims import KEYS
from scripts.reproduction.tables import Table, load_table, table_runs
from smoothmix.corruptions import CORRUPTIONS
from smoothmix.reporting.claims import ENDPOINTS
from tests.commands import ROOT, python, said
from tests.scripts import hand_made


@pytest.fixture
def claims(low_data, tmp_path, monkeypatch):
    """Run the command in tmp_path; return exit status, what it printed and complained."""
    monkeypatch.setattr(scripts.reproduction.studies, "table_runs", lambda *_, **__: low_data)
    return lambda *arguments: said("scripts/claims.py", *arguments, folder=tmp_path)


@pytest.fixture(scope="module")
def low_data():
    return table_runs(load_table("low_data"))


def errors(cell):
    """Last, best and corrupted error of a run; SmoothMix_C is best."""
    level = 40.0 - 3 * (cell.row == "SmoothMix_C") - 2 * (cell.row == "CutMix")
    seed = cell.key[-1] % 100
    last = level + 0.7 * seed + 0.2 * math.sin(7 * seed + len(cell.row))
    return last, last - 0.25, last + 20


def write(folder, cell, corrupted=True, weights="last", **changes):
    last, best, mean = errors(cell)
    row = {"test_top5_error": 3.0, "test_loss": 1.5, "train_loss": 0.1}
    facts = {"seconds": 60.0, "device": "drawn", "precision": "fp32", "git_commit": "0123456789abcdef", "parameters": 7}
    facts |= {"best": row | {"test_top1_error": best}, "last": row | {"test_top1_error": last}}
    place = hand_made.write(folder, cell, **facts | changes)
    log = [{"epoch": 1, "train_loss": 1.0}]
    for epoch, worse in ((2, 5), (3, 0)):
        log.append({"epoch": epoch, "train_loss": 0.1, "test_top1_error": last + worse, "test_loss": 1})
    (place / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    if corrupted:  # the four noises 10 points above the others, severities 2 points apart
        noises = {name: 10 * (CORRUPTIONS[name].category == "noise") for name in CORRUPTIONS}
        shift = sum(noises.values()) / len(noises)
        cells = {
            name: {str(level): mean - shift + noise + 2 * (level - 3) for level in range(1, 6)}
            for name, noise in noises.items()
        }
        changes = {"source": "generated (seed 0), 2000 of 10000 images", "clean_top1_error": last + 1}
        hand_made.write_corrupted(place, cell, "cifar100_c", cells, "generate-2000", weights=weights, **changes)


def test_a_study_from_records_and_again_from_its_files(claims, low_data, tmp_path):
    left_out = low_data[-1]
    for cell in low_data[:-1]:
        write(tmp_path / "runs", cell)
    write(tmp_path / "runs" / "other", left_out, method="another")
    status, out, _ = claims("table=low_data", "runs", "--output", "study")
    assert status == 0
    runs = pd.read_csv(tmp_path / "study" / "runs.csv")
    assert len(runs) == len(low_data) - 1
    assert {*ENDPOINTS, "row", "seed", "seconds", "device", "git_commit"} <= set(runs)
    for cell in low_data[:-1]:
        (line,) = runs[(runs["row"] == cell.row) & (runs["seed"] == cell.key[-1])].itertuples()
        last, best, mean = errors(cell)
        shift = 40 / 19
        expected = (last, best, 3.0, 1.5, mean, mean - shift + 10, mean - shift, mean - last - 1)
        found = (line.last_top1, line.best_top1, line.last_top5, line.test_loss, line.corrupted, line.noise, line.blur)
        assert (*found, line.corruption_gap) == pytest.approx(expected, abs=1e-5)
    corruptions = pd.read_csv(tmp_path / "study" / "corruptions.csv")
    assert len(corruptions) == 19 * (len(low_data) - 1)
    assert (corruptions["severity_5"] - corruptions["severity_1"]).to_numpy() == pytest.approx(8.0)
    curves = pd.read_csv(tmp_path / "study" / "curves.csv")
    baseline = [errors(cell)[0] for cell in low_data if cell.row == "Baseline"]
    (last_line,) = curves[(curves["row"] == "Baseline") & (curves["epoch"] == 3)].itertuples()
    assert set(curves["epoch"]) == {2, 3}  # epoch 1 was not evaluated
    assert (last_line.n, last_line.test_top1_error) == (8, pytest.approx(np.mean(baseline), abs=1e-5))
    assert last_line.test_top1_error_std == pytest.approx(np.std(baseline, ddof=1), abs=1e-5)

    verdicts = pd.read_csv(tmp_path / "study" / "claims.csv").set_index("id")
    ours = [errors(cell)[0] for cell in low_data if cell.row == "SmoothMix_C"]
    assert verdicts.loc["c-baseline", "p"] == pytest.approx(stats.ttest_rel(ours, baseline).pvalue, rel=1e-4)
    assert verdicts.loc["c-baseline", "verdict"] == "supported"
    page = (tmp_path / "study" / "README.md").read_text()
    assert f"Runs: {len(low_data) - 1} of {len(low_data)}; missing: {left_out.row} 4 of 5" in page
    assert "generated (seed 0), 2000 of 10000 images, last weights" in page
    assert out.strip() in (tmp_path / "study" / "claims.md").read_text()

    names = {"README.md", "claims.csv", "claims.md", "runs.csv", "corruptions.csv", "curves.csv"}
    names |= {f"{figure}.{kind}" for figure in ("differences", "curves", "corruptions") for kind in ("svg", "png")}
    before = {path.name: path.read_bytes() for path in (tmp_path / "study").iterdir()}
    assert before.keys() == names
    shutil.rmtree(tmp_path / "runs")
    for name in names - {"runs.csv", "corruptions.csv", "curves.csv"}:
        (tmp_path / "study" / name).unlink()
    assert claims("table=low_data", "study", "--output", "study")[0] == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "study").iterdir()} == before

    (tmp_path / "study" / "notes.md").write_text("One run was repeated.\n")
    (tmp_path / "study" / "plan.md").write_text("# Plan\n")
    assert claims("table=low_data", "study", "--output", "study")[0] == 0
    extended = (tmp_path / "study" / "README.md").read_text()
    assert "do not edit.\n\nOne run was repeated.\n\nBeside this page: [plan.md](plan.md).\n\nRuns: " in extended


def test_a_pilot_of_other_seeds_and_its_plan(claims, low_data, tmp_path):
    for cell in low_data:
        if cell.row in ("Baseline", "SmoothMix_C") and cell.key[-1] < 3:
            write(tmp_path / "pilot", replace(cell, key=cell.key._replace(seed=cell.key.seed + 100)))
    status, out, _ = claims("table=low_data", "pilot", "--plan", "--effect", "0.5")
    assert status == 0
    lines = [[cell.strip() for cell in line.split("|")] for line in out.splitlines()]
    (cells,) = (line for line in lines if line[1] == "SmoothMix_C has a lower error than the baseline")
    assert cells[5] == "3"
    assert int(cells[-2]) >= 2
    # those seeds are not the table's: the claims themselves are not judged on them
    assert "undecided (n=0)" in claims("table=low_data", "pilot")[1]


def test_only_the_weights_of_the_table_count(claims, low_data, tmp_path):
    cells = [cell for cell in low_data if cell.row in ("CutMix", "SmoothMix_C")]
    for number, cell in enumerate(cells):
        write(tmp_path / "runs", cell, weights="best" if number == 3 else "last")
    assert claims("table=low_data", "runs", "--output", "study")[0] == 0
    runs = pd.read_csv(tmp_path / "study" / "runs.csv")
    assert list(runs["corrupted"].isna()) == [number == 3 for number in range(len(cells))]


def test_mistakes(claims, low_data, tmp_path):
    write(tmp_path / "runs", low_data[0], corrupted=False)
    assert claims("low_data", "runs")[0] == 2
    complaint = "error: there is no table low_date; did you mean low_data?\n"
    assert claims("table=low_date", "runs") == (2, "", complaint)
    assert "table 1 has no claims; add them to configs/table/1.yaml" in claims("table=1", "runs")[2]
    assert "there is no folder outputs or results here" in claims("table=low_data")[2]
    assert "there is no folder nowhere" in claims("table=low_data", "nowhere")[2]
    (tmp_path / "empty").mkdir()
    _, out, complaint = claims("table=low_data", "empty", "--output", "study")
    assert "undecided (n=0)" in out
    assert "no run of table low_data was found" in complaint
    log = next((tmp_path / "runs").rglob("metrics.jsonl"))
    for damage in ("[]\n", '{"test_top1_error": 3}\n', "\x00"):
        log.write_text(damage)
        assert f"{log.relative_to(tmp_path)} is not the log of a run" in claims("table=low_data", "runs")[2]
    (tmp_path / "study").mkdir(exist_ok=True)
    for content in ("", "row,seed\nA,0\n", "row,seed\nA,0\nA,0\n"):
        (tmp_path / "study" / "runs.csv").write_text(content)
        status, _, complaint = claims("table=low_data", "study")
        assert (status, complaint.count("\n")) == (2, 1)
        assert "make it again from the runs" in complaint


@pytest.mark.slow
def test_the_commands_of_the_page_on_claims(tmp_path):
    text = (ROOT / "docs" / "claims.md").read_text()
    printed = []
    for line in re.findall(r"^    python scripts/(.*)$", text, re.M):
        program, *arguments = shlex.split(line)
        done = python(ROOT / "scripts" / program, *arguments, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        printed.append(done.stdout)
    run, judged, planned, written, again = printed
    assert "9 runs: 0 done, 0 running elsewhere, 9 to run" in run
    assert judged == written == again
    columns = re.findall(r"^\| claim .*$", text, re.M)[0].split("|")
    assert {column.strip() for column in columns} <= {cell.strip() for cell in judged.splitlines()[2].split("|")}
    assert len(re.findall(r"^\| SmoothMix_C", planned, re.M)) == 3
    files = {path.name for path in (tmp_path / "outputs" / "digits_study").iterdir()}
    assert {"README.md", "differences.svg", "curves.svg"} <= files


def test_the_page_on_claims_lists_all_keys_and_endpoints():
    """The tables of docs/claims.md against the schema."""
    text = (ROOT / "docs" / "claims.md").read_text()
    keys = {key for cell in re.findall(r"^\| (`.*?) \|", text, re.M) for key in re.findall(r"`(\w+)`", cell)}
    assert keys == {field.name for field in fields(Table)} - {"name"} | KEYS - {"margin"}
    (endpoints,) = re.findall(r"^\| `endpoint` \| (.*) \|$", text, re.M)
    assert set(re.findall(r"`(\w+)`", endpoints)) == set(ENDPOINTS)
