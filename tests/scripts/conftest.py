"""The command make_tables.py on hand-made records."""

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
