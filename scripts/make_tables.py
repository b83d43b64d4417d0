"""Print Tables 4 and 5 with our errors beside the paper's: python scripts/make_tables.py [FOLDER] [--table 4]."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from smoothmix.errors import UserError
from smoothmix.reporting import corruption_tables as tables

PAPER = Path(__file__).resolve().parent.parent / "results" / "paper"


def main() -> None:
    """Read the records, print Markdown: a table for each setting that was evaluated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs"))
    parser.add_argument("--table", type=int, choices=tables.BENCHMARKS, default=4)
    args = parser.parse_args()
    paper = tables.read_paper(PAPER / f"table{args.table}.csv")
    try:
        records = tables.read_corruption_records(args.folder, tables.BENCHMARKS[args.table])
    except UserError as error:
        sys.exit(f"error: {error}")
    settings = dict.fromkeys(tuple(record[key] for key in tables.SETTING) for record in records)
    if not settings:
        benchmark = tables.BENCHMARKS[args.table]
        sys.exit(f"error: no record of {benchmark} beneath {args.folder}; run eval_corruption.py first")
    for setting in settings:
        chosen = [record for record in records if tuple(record[key] for key in tables.SETTING) == setting]
        benchmark, model, recipe, epochs, source, weights = setting
        print(f"Table {args.table}: {benchmark}, {source}; {model}, recipe {recipe}, {epochs} epochs ({weights})")
        print("Top-1 error in %: paper / ours / difference, or ours alone\n")
        print(tables.to_markdown(tables.compare(chosen, paper, by_category=args.table == 5)) + "\n")


if __name__ == "__main__":
    main()
