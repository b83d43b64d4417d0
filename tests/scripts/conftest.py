"""The commands benchmark.py, and make_tables.py on hand-made records."""

import json
from functools import cache

import pytest

from scripts.reproduction.tables import load_table, table_runs
from tests.commands import said


@pytest.fixture
def cells():
    """The cells of a table by its name, the same ones each time."""
    return cache(lambda name, preset="paper", overrides=(): table_runs(load_table(name), preset, overrides))


@pytest.fixture
def run(tmp_path):
    """Run make_tables.py on tmp_path/records; return exit status, what it printed and complained."""

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
