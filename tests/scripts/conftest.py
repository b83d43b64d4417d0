"""The commands benchmark.py, and make_tables.py on hand-made records; the runs of a table are composed once."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

import scripts.reproduction.tables
from scripts import benchmark
from scripts.reproduction.tables import load_table
from smoothmix.utils.command import status_of

ROOT = Path(__file__).parents[2]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def hand_made():
    return load(Path(__file__).with_name("hand_made.py"))


@pytest.fixture(scope="session")
def make_tables():
    return load(ROOT / "scripts" / "make_tables.py")


@pytest.fixture(scope="session")
def composed():
    """Compose the cells of a table once for each preset and overrides, which takes a tenth of a second a row."""
    known, compose = {}, scripts.reproduction.tables.table_runs

    def of(table, preset, overrides=()):
        key = table.name, preset, tuple(overrides)
        if key not in known:
            known[key] = compose(table, preset, overrides)
        return known[key]

    return of


@pytest.fixture
def cells(composed):
    """The cells of a table by its name."""
    return lambda name, preset="paper", overrides=(): composed(load_table(name), preset, overrides)


@pytest.fixture
def run(make_tables, composed, tmp_path, monkeypatch, capsys):
    """Run the command on tmp_path/records; return exit status, what it printed and complained."""
    monkeypatch.setattr(scripts.reproduction.tables, "table_runs", composed)

    def call(*overrides, folders=("records",)):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["make_tables.py", *folders, "--output", "tables", *overrides])
        try:
            make_tables.main()
            status = 0
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def benchmarked(tmp_path, monkeypatch, capsys):
    """Run benchmark.py; return the record and its page, or the complaint if the exit status is 2."""

    def call(*arguments, output=("--output", "new/record.json")):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["scripts/benchmark.py", *map(str, arguments), *output])
        if status := status_of(benchmark.main):
            assert status == 2
            return capsys.readouterr().err
        page = (tmp_path / "new" / "record.md").read_text()
        assert capsys.readouterr().out.strip() == page.strip()
        return json.loads((tmp_path / "new" / "record.json").read_text()), page

    return call
