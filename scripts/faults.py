"""Inject faults and count what survives: python scripts/faults.py kill --count 160 --output FILE.json."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.fault_injection import kill
from smoothmix.errors import UserError


def main() -> int:
    """Parse the command line and inject the chosen faults; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    kill.add_arguments(commands.add_parser("kill", help="SIGKILL at named and at random moments"))
    args = parser.parse_args()
    try:
        args.run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
