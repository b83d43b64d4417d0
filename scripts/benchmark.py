"""Measure speed: python scripts/benchmark.py corruption --benchmark cifar --output results/benchmarks/NAME.json."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.benchmarks import corruption, ranks, step, trainer
from smoothmix.errors import UserError


def main() -> int:
    """Parse the command line and run the chosen measurement; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    corruption.add_arguments(commands.add_parser("corruption", help="images corrupted per second"))
    ranks.add_arguments(commands.add_parser("ranks", help="what several ranks cost; start it with torchrun"))
    step.add_arguments(commands.add_parser("step", help="milliseconds of a train step, beside a plain one"))
    trainer.add_arguments(commands.add_parser("trainer", help="what the trainer costs beside the step; what grows"))
    args = parser.parse_args()
    try:
        args.run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
