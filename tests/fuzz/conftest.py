"""Hypothesis: few examples by default, many where a test is marked slow; always the same ones."""

import pytest
from hypothesis import HealthCheck, settings

COMMON = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}
FEW = settings(max_examples=30, **COMMON)
MANY = settings(max_examples=3000, **COMMON)


@pytest.fixture(params=[pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.slow)])
def fuzz(request):
    """Return a function that runs a property, a function already given its strategies, with few or many examples."""

    def run(property):
        request.param(property)()

    return run
