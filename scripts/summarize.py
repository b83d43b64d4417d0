"""Print the tables of all runs beneath a folder, corrupted errors too: `python scripts/summarize.py outputs`."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from smoothmix.reporting import corrupted_means
from smoothmix.reporting.corruption_tables import read_corruption_records
from smoothmix.reporting.records import read_records
from smoothmix.reporting.tables import summarize, to_markdown
from smoothmix.utils.errors import UserError


def main() -> None:
    """Read the records, print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs"))
    folder = parser.parse_args().folder
    try:
        records, corrupted = read_records(folder), read_corruption_records(folder, "*_c")
    except UserError as error:
        sys.exit(f"error: {error}")
    if not records:
        sys.exit(f"error: no finished run beneath {folder}; train one first")
    print(to_markdown(summarize(records)))
    if corrupted:
        print(corrupted_means.to_markdown(corrupted_means.summarize(corrupted)))
        print(corrupted_means.by_corruption(corrupted))


if __name__ == "__main__":
    main()
