"""The harness that kills: what it kills ends as the unbroken run, and it notices what does not."""

import json
import re
import sys

import pytest

from smoothmix.utils.errors import UserError
from tests.commands import ROOT, here, python
from tests.faults import kill, soak
from tests.faults.points import Hits
from tests.faults.workloads import WORKLOADS, Workload, state


@pytest.mark.parametrize(
    ("commands", "count"),
    [(["train"], 1), pytest.param(list(WORKLOADS), 100, marks=pytest.mark.slow)],
)
def test_killed_anywhere_it_ends_as_the_unbroken_run(tmp_path, commands, count):
    command = ["tests/faults/run.py", "kill", "--count", count, "--seed", 1, "--output", tmp_path / "kills.json"]
    done = python(*command, "--commands", *commands, timeout=None)
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "kills.md").read_text()
    assert page.startswith(f"{count} kills in ")
    assert f" {count} ended bit-identical to the uninterrupted run" in page
    rows = re.findall(r"^\| \w+ +\| .* \| (\d+) +\| (\d+) +\|$", page, re.M)
    assert sum(int(kills) for kills, _ in rows) == count
    assert all(kills == same for kills, same in rows)


@pytest.mark.parametrize(("name", "module"), [("kills", kill), ("soak", soak)])
def test_the_committed_pages_follow_from_their_records(name, module):
    path = ROOT / "results" / "reliability" / f"{name}.json"
    assert path.with_suffix(".md").read_text() == module.to_markdown(json.loads(path.read_text()))


def test_kills_are_shared_out():
    even = kill.shares(list(WORKLOADS), 2 * len(kill.POINTS), 0)
    assert even == dict.fromkeys(kill.POINTS, 2)
    few = kill.shares(["train", "fetch"], 5, 0)
    assert sum(few.values()) == 5
    assert {name for name, _ in few} <= {"train", "fetch"}
    assert few != kill.shares(["train", "fetch"], 5, 1)


hits_here = []  # what a workload below calls when it comes to its point; installing the point fills it


@pytest.fixture
def bench(tmp_path):
    """Return a function that makes a bench of a function, which gets the folder and what to call at its point."""

    def make(write):
        hits_here.clear()
        workload = Workload(lambda folder: write(folder, *hits_here), {"here": hits_here.append})
        return kill.Bench(workload, tmp_path / "work", tmp_path / "none")

    return make


def whole(folder, hit=lambda: None):
    for name in ("a.json", "b.json"):
        (folder / name).write_text("{}")
        hit()


def twice(folder, hit=lambda: None):
    with open(folder / "log.txt", "a") as file:
        file.write("line\n")
    hit()


def seldom(folder, hit=lambda: None):
    if not (folder / "a.json").exists():
        (folder / "a.json").write_text('{"seconds": 1}')
        hit()
        (folder / "a.json").write_text('{"seconds": 2, "error": 3}')


def test_what_ends_alike_is_not_reported(bench):
    made = bench(whole)
    assert made.passed == {"here": 2}
    assert made.killed_at(hits_here.append, 1) == made.killed_at(hits_here.append, 2) == ""


def once(folder, hit=lambda: None):
    if (folder / "a").exists():
        sys.exit(3)
    (folder / "a").write_text("")
    hit()


@pytest.mark.parametrize(
    ("write", "at", "found"),
    [
        (twice, 1, "log.txt differ"),
        (seldom, 1, "a.json differ"),
        (whole, 3, "it was not killed but ended with 0: "),
        (once, 1, "started again it ended with 3: "),
    ],
)
def test_what_does_not_end_alike_is_noticed(bench, write, at, found):
    assert bench(write).killed_at(hits_here.append, at) == found


def test_a_point_that_the_unbroken_run_never_passes_is_refused(bench):
    with pytest.raises(UserError, match="the unbroken run never comes to: here"):
        bench(lambda folder, hit=None: None)


def test_times_do_not_count_and_all_else_does(tmp_path):
    (tmp_path / "a.json").write_text('{"seconds": 1, "error": 2}')
    before = state(tmp_path)
    (tmp_path / "a.json").write_text('{"seconds": 3, "error": 2}')
    assert state(tmp_path) == before
    (tmp_path / "a.json").write_text('{"seconds": 3, "error": 2.5}')
    assert state(tmp_path) != before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--count", 0, "--output", "kills.json"], "error: --count must be at least 1, not 0\n"),
        (["--output", "/nowhere/kills.json"], "error: there is no folder /nowhere for --output; make it first\n"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments, sentence):
    done = here("tests/faults/run.py", "kill", *arguments)
    assert (done.returncode, done.stderr) == (2, sentence)


def test_hits_never_kill_where_they_only_count():
    hits = Hits(0)
    hits()
    hits(lambda: pytest.fail("spoiled"))
    assert hits.count == 2
