"""Print Tables 4 and 5 with our errors beside the paper's: python scripts/make_tables.py [FOLDER] [--table 4]."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from smoothmix.errors import UserError
from smoothmix.reporting.corruption_tables import BENCHMARKS, SETTING, compare, read_corruption_records, read_paper, to_markdown

PAPER = Path(__file__).resolve().parent.parent / "results" / "paper"


def main() -> None:
    """Read the records, print Markdown: a table for each setting that was evaluated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs"))
    parser.add_argument("--table", type=int, choices=BENCHMARKS, default=4)
    args = parser.parse_args()
    paper = read_paper(PAPER / f"table{args.table}.csv")
    try:
        records = read_corruption_records(args.folder, BENCHMARKS[args.table])
    except UserError as error:
        sys.exit(f"error: {error}")
    settings = dict.fromkeys(tuple(record[key] for key in SETTING) for record in records)
    if not settings:
        sys.exit(f"error: no record of {BENCHMARKS[args.table]} beneath {args.folder}; run eval_corruption.py first")
    for setting in settings:
        chosen = [record for record in records if tuple(record[key] for key in SETTING) == setting]
        benchmark, model, recipe, epochs, source, weights = setting
        print(f"Table {args.table}: {benchmark}, {source}; {model}, recipe {recipe}, {epochs} epochs, weights {weights}")
        print("Top-1 error in %: paper / ours / difference, or ours alone\n")
        print(to_markdown(compare(chosen, paper, by_category=args.table == 5)) + "\n")


if __name__ == "__main__":
    main()
