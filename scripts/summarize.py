"""Compare all runs beneath a folder, on corrupted images too: `python scripts/summarize.py outputs`."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.reproduction.arguments import command, exit_with


def main() -> None:
    """Read the records, print Markdown; what cannot be counted goes to stderr, and the exit status is then 2."""
    from smoothmix.reporting.comparison import to_markdown
    from smoothmix.reporting.records import read_folders

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs"))
    folder = parser.parse_args().folder
    found = read_folders([folder])
    if not found.runs:
        exit_with([*found.problems, f"no finished run beneath {folder}; train one first"])
    print(to_markdown(found.runs, found.corrupted))
    exit_with(found.problems)


if __name__ == "__main__":
    command(main)
