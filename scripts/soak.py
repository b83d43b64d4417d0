"""Watch a long run for what grows: python scripts/soak.py --steps 20000 --output results/reliability/soak.json.

Resident memory, open files, threads, the run directory and the time per step. The exit status is 1 if any is not flat.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from scripts.benchmarks import timing
from scripts.reliability import soak
from smoothmix.errors import UserError


def main() -> int:
    """Parse the command line, train, write the record; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write; Markdown goes beside it")
    args = parser.parse_args()
    torch.set_num_threads(1)
    facts = timing.describe(torch.device("cpu"), timing.load_average())
    try:
        with tempfile.TemporaryDirectory() as folder:
            record = facts | soak.make_record(args.steps, soak.soak(args.steps, Path(folder, "run")))
        timing.save(args.output, record, soak.to_markdown(record, timing.head(record, "Soak")))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if all(line["flat"] for line in record["verdicts"]) else 1


if __name__ == "__main__":
    sys.exit(main())
