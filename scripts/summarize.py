"""Print the table of all finished runs beneath a folder: `python scripts/summarize.py outputs`."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from smoothmix.errors import UserError
from smoothmix.reporting.records import read_records
from smoothmix.reporting.tables import summarize, to_markdown


def main() -> None:
    """Read the records, print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs"))
    folder = parser.parse_args().folder
    try:
        records = read_records(folder)
    except UserError as error:
        sys.exit(f"error: {error}")
    if not records:
        sys.exit(f"error: no finished run beneath {folder}; train one first")
    print(to_markdown(summarize(records)))


if __name__ == "__main__":
    main()
