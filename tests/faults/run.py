"""Inject faults and count what survives, or watch a long run for what grows.

python tests/faults/run.py kill --count 160 --output FILE.json
python tests/faults/run.py soak --steps 20000 --output FILE.json     # exit status 1 if anything is not flat
"""

import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback

from smoothmix.utils.command import run
from tests.faults import kill, soak


def main() -> int | None:
    """Parse the command line and do what it asks for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    kill.add_arguments(commands.add_parser("kill", help="SIGKILL at named and at random moments"))
    soak.add_arguments(commands.add_parser("soak", help="memory, files, threads, disk and step time of a long run"))
    args = parser.parse_args()
    return args.run(args)


if __name__ == "__main__":
    run(main)
