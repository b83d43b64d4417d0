"""What make_tables.py is given: which records it takes, which it refuses, and what may stand on its command line."""

import hashlib
import json
import subprocess
import sys

import pytest

from smoothmix.corruptions import CORRUPTIONS
from tests.commands import ROOT
from tests.scripts import hand_made

ALL = [str(number) for number in range(1, 9)]
TABLES = sorted(path.stem for path in (ROOT / "configs" / "table").glob("*.yaml"))
CORRUPTED = {"4": "cifar100_c", "5": "imagenet_c"}


def test_records_of_another_preset_or_recipe_are_ignored(cells, run, tmp_path):
    paper, quick = cells("2")[0], cells("2", "quick")[0]
    hand_made.write(tmp_path / "records" / "a", quick)
    hand_made.write(tmp_path / "records" / "b", paper, recipe="cifar_cutmix")
    hand_made.write(tmp_path / "records" / "c", paper, config_hash="0" * 8)
    hand_made.write(tmp_path / "records" / "d", paper, seed=9)
    status, out, _ = run("--table", "2")
    assert status == 0
    assert "tables/table2.md .tex .csv: 0 of 30 runs" in out
    reasons = "1 of recipe quick, 1 of recipe cifar_cutmix, 1 of recipe cifar with other settings than the table's, "
    assert f"4 records of no row of these tables ignored: {reasons}1 of seed 9." in out


def test_runs_with_overrides_are_found_with_these_overrides(cells, run, tmp_path):
    overrides = ["precision=bf16", "channels_last=true"]
    for cell in cells("6", "paper", tuple(overrides)):
        hand_made.write(tmp_path / "records", cell)
    assert "0 of 10 runs" in run("--table", "6")[1]
    assert "10 of 10 runs" in run("--table", "6", "--overrides", *overrides)[1]
    text = (tmp_path / "tables" / "table6.md").read_text()
    assert text.splitlines()[0].endswith(", with precision=bf16 channels_last=true")
    assert "unknown key precison" in run("--table", "6", "--overrides", "precison=bf16")[2]


def test_corrupted_errors_of_an_unfinished_run_or_of_other_weights_are_not_shown(cells, run, tmp_path):
    cell = cells("demo")[0]
    directory = hand_made.write(tmp_path / "records", cell)
    errors = {name: dict.fromkeys("12345", 77.0) for name in CORRUPTIONS}
    (directory / "best.pt").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()[:16]
    hand_made.write_corrupted(directory, cell, "digits_c", errors, "files-80", weights_sha256=digest)
    assert run("--table", "demo")[0] == 0
    page = tmp_path / "tables" / "demo.md"
    assert "77.00" in page.read_text()
    record = (directory / "summary.json").read_text()
    (directory / "summary.json").unlink()
    assert run("--table", "demo")[0] == 0
    assert "77.00" not in page.read_text()
    assert "Ignored: 1 records of runs that have no record of their training." in page.read_text()
    (directory / "summary.json").write_text(record)
    (directory / "best.pt").write_bytes(b"other weights")
    status, _, complaint = run("--table", "demo")
    assert status == 2
    assert "was made with other weights than" in complaint


@pytest.mark.parametrize("name", ALL)
def test_copies_are_fine_and_contradictions_and_corrupt_records_are_named(name, cells, run, tmp_path):
    cell, benchmark = cells(name)[-1], CORRUPTED.get(name, "digits_c")
    folders = [hand_made.write(tmp_path / "records" / place, cell) for place in "ab"]
    for folder in folders:
        hand_made.write_corrupted(folder, cell, benchmark, {"fog": {1: 10.0}})
    status, out, _ = run("--table", name)
    assert status == 0
    assert f"table{name}.md .tex .csv: {0 if name in CORRUPTED else 1} of {len(cells(name))} runs" in out
    hand_made.write(tmp_path / "records" / "b", cell, last={"test_top1_error": 50.0, "test_top5_error": 9.0})
    hand_made.write_corrupted(folders[1], cell, benchmark, {"fog": {1: 11.0}})
    status, _, complaint = run("--table", name)
    assert status == 2
    for sentence, file in zip(complaint.splitlines(), ("summary.json", f"best.{benchmark}-files.json"), strict=True):
        assert all(str(folder.relative_to(tmp_path) / file) in sentence for folder in folders)
        assert f"seed {cell.key[5]}" in sentence

    hand_made.write_corrupted(folders[1], cell, benchmark, {"fog": {1: 10.0}})
    wrong = json.dumps(cell.key._asdict() | {"epochs": 3, "best": {"test_top1_error": "low"}}).encode()
    for file, what in (("summary.json", "a run record"), (f"best.{benchmark}-files.json", "a record of corrupted err")):
        for text in (b"{", b"[]", b'{"dataset": "cifar10"}', b"\xff", wrong):
            (folders[1] / file).write_bytes(text)
            status, _, complaint = run("--table", name)
            assert status == 2
            assert complaint.startswith(f"error: {(folders[1] / file).relative_to(tmp_path)} is not {what}")
            assert complaint.count("\n") == 1
        (folders[1] / file).unlink()
    assert len(list((tmp_path / "tables").iterdir())) == 3  # what is whole is shown all the same


@pytest.mark.parametrize(
    ("overrides", "folders", "sentence"),
    [
        (["--table", "9"], ["records"], f"there is no table 9; choose from {', '.join(TABLES)}"),
        (["--table", "2"], ["nowhere"], "there is no folder nowhere"),
        (["--table", "2", "--preset", "fast"], ["records"], "there is no preset fast; choose from paper, quick"),
    ],
)
def test_mistakes_are_one_sentence(overrides, folders, sentence, run, tmp_path):
    (tmp_path / "records").mkdir()
    assert run(*overrides, folders=folders) == (2, "", f"error: {sentence}\n")


def test_folders_may_stand_behind_any_option(cells, run, tmp_path):
    hand_made.write(tmp_path / "records", cells("6")[0])
    given = ["--table", "6", "records"], ["records", "--table", "6"], ["--table", "6", "records", "--preset=paper"]
    for overrides in given:
        status, out, _ = run(*overrides, folders=())
        assert (status, out.splitlines()[0]) == (0, "tables/table6.md .tex .csv: 1 of 10 runs"), overrides
    hand_made.write(tmp_path / "records", cells("6", "paper", ("precision=bf16",))[0])
    overrides = ["--table", "6", "--overrides", "precision=bf16", "records"]
    assert "1 of 10 runs" in run(*overrides, folders=())[1]
    assert run(*overrides[:-1], "nowhere", folders=()) == (2, "", "error: there is no folder nowhere\n")
    assert "there is no table nowhere; " in run("--table", "6", "nowhere", folders=())[2]


def test_help_is_there_without_torch():
    code = (
        "import sys, runpy; sys.argv = ['make_tables.py', '--help']\n"
        "try: runpy.run_path('scripts/make_tables.py', run_name='__main__')\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("False\n"), done.stderr
