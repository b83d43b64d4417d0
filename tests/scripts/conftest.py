"""The commands benchmark.py, and make_tables.py on hand-made records; the runs of a table are composed once."""

import json

import pytest

import scripts.reproduction.tables
from scripts.reproduction.tables import load_table
from tests.commands import said


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
def run(composed, tmp_path, monkeypatch):
    """Run make_tables.py on tmp_path/records; return exit status, what it printed and complained."""
    monkeypatch.setattr(scripts.reproduction.tables, "table_runs", composed)

    def call(*overrides, folders=("records",)):
        return said("scripts/make_tables.py", *folders, "--output", "tables", *overrides, folder=tmp_path)

    return call


@pytest.fixture
def benchmarked(tmp_path):
    """Run benchmark.py; return the record and its page, or the complaint if the exit status is 2."""

    def call(*arguments, output=("--output", "new/record.json")):
        status, out, complaint = said("scripts/benchmark.py", *arguments, *output, folder=tmp_path)
        if status:
            assert status == 2
            return complaint
        page = (tmp_path / "new" / "record.md").read_text()
        assert out.strip() == page.strip()
        return json.loads((tmp_path / "new" / "record.json").read_text()), page

    return call
