"""Measure speed beside other libraries' and usual code, into results/benchmarks/: python scripts/benchmark.py peers."""

import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback

from scripts.benchmarks import gpu, peers, step, timing
from smoothmix.utils.command import run


def main() -> int | None:
    """Parse the command line and run the chosen measurement; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    for name, module in {"peers": peers, "step": step, "gpu": gpu}.items():
        one = commands.add_parser(name, help=module.__doc__.splitlines()[0], description=module.__doc__)
        module.add_arguments(one)
        if name != "gpu":
            timing.add_arguments(one)
    page = commands.add_parser("page", help="write the table of docs/performance.md from the records")
    page.set_defaults(run=lambda args: timing.write_page())
    args = parser.parse_args()
    return args.run(args)


if __name__ == "__main__":
    run(main)
