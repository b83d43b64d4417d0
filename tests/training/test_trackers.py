"""Trackers: what they are told, and that they never end a run. Stand-ins, since neither package is a requirement."""

import sys
from types import SimpleNamespace

import pytest

from smoothmix.training.recipe import Settings
from tests.mistakes import one_line

PACKAGES = ("wandb", "trackio")


@pytest.fixture
def tracker(monkeypatch):
    """Return a function that installs a stand-in for a package and returns the list of calls that it gets."""

    def install(package, broken=()):
        calls = []

        def method(name):
            def call(*args, **options):
                calls.append((name, args, options))
                if name in broken:
                    raise ConnectionError("no route to host\nand more")

            return call

        stand_in = SimpleNamespace(**{name: method(name) for name in ("init", "log", "finish")})
        monkeypatch.setitem(sys.modules, package, stand_in)
        return calls

    return install


@pytest.mark.parametrize("package", PACKAGES)
def test_a_tracker_gets_the_configuration_and_each_epoch_with_its_number(make_trainer, tracker, package):
    calls = tracker(package)
    trainer = make_trainer(settings=Settings(logger=package))
    history = trainer.fit()
    (_, _, options), *logs, last = calls
    assert options["config"] == {"who": "test"}
    assert (options["project"], options["resume"]) == ("smoothmix", "allow")
    assert options["name"].endswith("/run")
    assert [(metrics["test/top1_error"], given["step"]) for _, (metrics,), given in logs] == [
        (row["test_top1_error"], row["epoch"]) for row in history
    ]
    assert last[0] == "finish"


@pytest.mark.parametrize("broken", ["init", "log", "finish"])
def test_whatever_it_raises_becomes_one_note(make_trainer, tracker, capsys, broken):
    calls = tracker("wandb", {broken})
    history = make_trainer(settings=Settings(logger="wandb")).fit()
    assert len(history) == 3
    (note,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("note: "))
    one_line(note, "logger=wandb", "no route to host")
    assert [name for name, *_ in calls].count(broken) == 1


def test_a_package_that_is_not_installed_is_named(make_trainer, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "trackio", None)
    assert len(make_trainer(settings=Settings(logger="trackio")).fit()) == 3
    assert "pip install trackio" in capsys.readouterr().out
