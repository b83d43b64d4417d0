"""Kill anywhere: SIGKILL at named and at random moments; started again, everything must end as if nothing had been."""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from smoothmix.utils.errors import UserError
from tests.faults import pages
from tests.faults.points import Hits, Point
from tests.faults.workloads import WORKLOADS, Workload, copy, state

SLOW_TO_IMPORT = [
    *["hydra", "pandas", "tensorboard.compat.proto.event_pb2", "torch._dynamo", "datasets"],
    *["models", "smoothmix.training.trainer", "smoothmix.corruptions", "smoothmix.evaluation.generated"],
]
RANDOM = "at a random moment"
NAMED = [(name, point) for name, workload in WORKLOADS.items() for point in workload.points]
POINTS = [*NAMED, ("train", RANDOM), ("corrupt", RANDOM)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--count", type=int, default=160, help=f"kills, shared out to {len(POINTS)} points")
    parser.add_argument("--commands", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write; Markdown goes beside it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Kill, restart, compare; print the table and write the record.

    Raises:
        UserError: an end state differs from the unbroken one, or a child could not be killed where it should be.
    """
    if args.count < 1:
        raise UserError(f"--count must be at least 1, not {args.count}")
    if not args.output.parent.is_dir():
        raise UserError(f"there is no folder {args.output.parent} for --output; make it first")
    torch.set_num_threads(1)  # children are forked: there must be no thread but this one
    for module in SLOW_TO_IMPORT:  # once, here
        import_module(module)
    made, start = pages.machine(torch.device("cpu")), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        results = kill_at(shares(args.commands, args.count, args.seed), args.seed, Path(folder))
    record = {"seed": args.seed, "seconds": time.perf_counter() - start, "points": results} | made
    pages.save(args.output, record, to_markdown)
    if failures := [failure for result in results for failure in result["failures"]]:
        raise UserError(f"{len(failures)} kills did not end like the uninterrupted run: {'; '.join(failures)}")


def shares(commands: list[str], count: int, seed: int) -> dict[tuple[str, str], int]:
    """Deal `count` kills out to the points of some commands; `seed` chooses which of them have one more."""
    chosen = [point for point in POINTS if point[0] in commands]
    each, rest = divmod(count, len(chosen))
    more = random.Random(seed).sample(chosen, rest)
    return {point: kills for point in chosen if (kills := each + (point in more))}


def kill_at(wanted: dict[tuple[str, str], int], seed: int, folder: Path) -> list[dict[str, Any]]:
    """Kill so many times at each (workload, point), at moments drawn by `seed`; return what came of each.

    Everything is done beneath `folder`.
    """
    draw = random.Random(seed)
    results = []
    for name in dict.fromkeys(name for name, _ in wanted):
        workload = WORKLOADS[name]
        bench = Bench(workload, folder / "work", folder / f"{name}-before")
        for point, count in ((point, count) for (of, point), count in wanted.items() if of == name):
            failures, passed = [], bench.passed.get(point)
            for _ in range(count):
                if passed is None:
                    where = f"after {(delay := draw.uniform(0, bench.seconds)):.3f} s"
                    found = bench.killed_after(delay)
                else:
                    where = f"at {(at := draw.randint(1, passed))} of {passed}"
                    found = bench.killed_at(workload.points[point], at)
                if found:
                    failures.append(f"{point}, {where}: {found}")
            results.append({"workload": name, "point": point, "kills": count, "moments": passed, "failures": failures})
    return results


class Bench:
    """One workload, its unbroken run, and kills of it; everything happens at the same path, which is in the records.

    Attributes:
        passed: how often the unbroken run comes to each point.
        seconds: what it takes.
    """

    def __init__(self, workload: Workload, folder: Path, before: Path) -> None:
        self.workload, self.folder, self.before = workload, folder, before
        if workload.prepare is not None:
            copy(before, folder)  # an empty one
            self._finish(workload.prepare)
            copy(folder, before)
        copy(before, folder)
        counts = folder.parent / "counts.json"

        def counting(folder: Path) -> None:
            hits = {name: Hits(0) for name in workload.points}
            for name, install in workload.points.items():
                install(hits[name])
            try:
                workload.run(folder)
            finally:
                counts.write_text(json.dumps({name: each.count for name, each in hits.items()}))

        start = time.perf_counter()
        self._finish(counting)
        self.seconds = time.perf_counter() - start
        self.passed = json.loads(counts.read_text())
        if never := [name for name, passed in self.passed.items() if not passed]:
            raise UserError(f"the unbroken run never comes to: {', '.join(never)}")
        self.unbroken = state(folder)

    def killed_at(self, install: Point, at: int) -> str:
        """Kill it the `at`-th time it comes to a point, start it again; return what differs, "" if nothing does."""
        copy(self.before, self.folder)

        def doomed(folder: Path) -> None:
            install(Hits(at))
            self.workload.run(folder)

        status, words = self._wait(self._start(doomed))
        if status != -signal.SIGKILL:
            return f"it was not killed but ended with {status}: {words}"
        return self._compare()

    def killed_after(self, delay: float) -> str:
        """Kill it after `delay` seconds (or at its end, if that is sooner), as :meth:`killed_at`."""
        copy(self.before, self.folder)
        child = self._start(self.workload.run)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)  # a child that has ended is there until it is waited for
        self._wait(child)
        return self._compare()

    def _compare(self) -> str:
        try:
            self._finish(self.workload.run)
            found = state(self.folder)
        except UserError as error:
            return str(error)
        differing = [name for name in found.keys() | self.unbroken if found.get(name) != self.unbroken.get(name)]
        return f"{', '.join(sorted(differing))} differ" if differing else ""

    def _finish(self, work: Callable[[Path], None]) -> None:
        status, words = self._wait(self._start(work))
        if status:
            raise UserError(f"started again it ended with {status}: {words}")

    def _start(self, work: Callable[[Path], None]) -> int:
        """Fork a child that does `work` in the folder; what it prints goes to a file."""
        sys.stdout.flush()
        child = os.fork()
        if child:
            return child
        status = 1
        try:
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            work(self.folder)
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _wait(self, child: int) -> tuple[int, str]:
        """Return the exit status, negative for a signal, and the last line that was printed."""
        _, status = os.waitpid(child, 0)
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return os.waitstatus_to_exitcode(status), lines[-1] if lines else ""

    @property
    def _log(self) -> Path:
        return self.folder.parent / "log.txt"


def to_markdown(record: dict[str, Any]) -> str:
    """Return a record as a table."""
    kills = sum(result["kills"] for result in record["points"])
    same = kills - sum(len(result["failures"]) for result in record["points"])
    note = (
        f"After a restart, {same} ended bit-identical to the uninterrupted run in weights, momentum, random states, "
        "metrics, record, curves and files, except for times and starts."
    )
    rows = [
        {
            "command": result["workload"],
            "killed by SIGKILL": result["point"],
            "possible moments": result["moments"] or "any",
            "kills": result["kills"],
            "same end state": result["kills"] - len(result["failures"]),
        }
        for result in record["points"]
    ]
    return pages.page(record, f"{kills} kills in {record['seconds']:.0f} s", note, pages.markdown(rows))
