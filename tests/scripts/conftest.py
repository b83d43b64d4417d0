"""Cells of tables."""

from functools import cache

import pytest

from scripts.reproduction.tables import load_table, table_runs


@pytest.fixture
def cells():
    """The cells of a table by its name, the same ones each time."""
    return cache(lambda name, preset="paper", overrides=(): table_runs(load_table(name), preset, overrides))
