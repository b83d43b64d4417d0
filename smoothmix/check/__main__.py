"""Check an operation from the command line: ``python -m smoothmix.check package.module:make``."""

import argparse
import importlib
import runpy
from pathlib import Path
from typing import Any

from smoothmix.check import LAWS, check_mixing
from smoothmix.utils.command import run
from smoothmix.utils.errors import UserError

PEERS = Path(__file__).resolve().parents[2] / "results" / "mixcheck.py"


def main() -> int:
    """Print the report; return 0 if no law failed, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m smoothmix.check", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("target", metavar="package.module:make", nargs="?", help="what builds the operation")
    what.add_argument("--peers", action="store_true", help="check other libraries and write results/mixcheck.md")
    parser.add_argument("--share", type=float, help="the mean share of its own pixels that a mixed image keeps")
    parser.add_argument(
        "--not-applicable",
        nargs=2,
        action="append",
        default=[],
        metavar=("LAW", "REASON"),
        help=f"a law that is not meant to hold: {', '.join(law.name for law in LAWS)}",
    )
    arguments = parser.parse_args()
    if arguments.peers:
        if not PEERS.is_file():
            raise UserError(f"--peers needs a clone of the repository, with {PEERS.parent.name}/{PEERS.name} in it.")
        runpy.run_path(str(PEERS), run_name="__main__")
        return 0
    report = check_mixing(_load(arguments.target), not_applicable=dict(arguments.not_applicable), share=arguments.share)
    print(report)
    return 0 if report.passed else 1


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    if not module or not name:
        raise UserError(f"{target!r} is not of the form package.module:make.")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"cannot import {module!r} ({error}): run the command where it can be imported.") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise UserError(f"{module!r} has no {name!r}.")
        found = getattr(found, part)
    return found


if __name__ == "__main__":
    run(main)
