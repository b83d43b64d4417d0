"""Jobs of Table 6 on digits, and the files that a training leaves."""

import json
from types import SimpleNamespace

import pytest
import yaml

from scripts.reproduction.jobs import jobs_of
from scripts.reproduction.tables import load_table, table_runs
from tests.scripts import hand_made


@pytest.fixture
def table_6(tmp_path):
    """Return a function that makes the jobs of Table 6's two rows on digits, beneath tmp_path / "out"."""

    def make(seeds=2, *overrides):
        table, own = load_table("6"), ("dataset=digits", f"output={tmp_path / 'out'}")
        return jobs_of(table, table_runs(table, "quick", (*own, *overrides), seeds))

    return make


@pytest.fixture
def demo(tmp_path):
    """Return the six jobs of the demo, which have a benchmark, beneath tmp_path / "out"."""
    table = load_table("demo")
    return jobs_of(table, table_runs(table, overrides=(f"output={tmp_path / 'out'}",)), "generate")


def record(job, **changes):
    settings = {"precision": "fp32", "channels_last": False, "step": "eager", "world_sizes": [1]}
    facts = {"epochs": job.config.recipe.epochs, "device": "some GPU", "seconds": 10.0}
    return hand_made.record(job, **settings | facts | changes)


@pytest.fixture
def leave():
    """Return functions that leave what a training does: a record, a checkpoint, a log of epochs."""

    def summary(job, **changes):
        job.directory.mkdir(parents=True, exist_ok=True)
        (job.directory / "summary.json").write_text(json.dumps(record(job, **changes)))
        (job.directory / "config.yaml").write_text(yaml.safe_dump(job.config.to_dict()))

    def checkpoint(job, epochs=0):
        job.directory.mkdir(parents=True, exist_ok=True)
        (job.directory / "last.pt").write_bytes(b"weights")
        (job.directory / "metrics.jsonl").write_text('{"epoch": 1}\n' * epochs)

    return SimpleNamespace(summary=summary, checkpoint=checkpoint, record=record)
