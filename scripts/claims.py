"""Judge the claims of a table on its runs: python scripts/claims.py table=low_data [FOLDER...] [--output DIR] [--plan].

The claims are those of configs/table/. A FOLDER holds run directories, or the CSV files that --output wrote. With
--output, the folder DIR gets the data (runs.csv, corruptions.csv, curves.csv), the verdicts (claims.md, claims.csv),
figures, and a README.md with all of them. With --plan, print how many seeds the claims need, judging by the runs of a
pilot with any seeds.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.reproduction import arguments


def _name(text: str) -> str:
    key, equals, name = text.partition("=")
    if key != "table" or not equals:
        raise argparse.ArgumentTypeError(f"give table=NAME first, not {text}")
    return name


def judge(args: argparse.Namespace) -> None:
    """Read runs or frames, print the verdicts or the plan, write a study."""
    from scripts.reproduction.studies import read_study, write_study
    from scripts.reproduction.tables import load_table
    from smoothmix.reporting import study_page, verdicts
    from smoothmix.utils.errors import UserError
    from smoothmix.utils.files import make_folder

    table = load_table(args.name)
    if not table.claims:
        raise UserError(f"table {table.name} has no claims; add them to configs/table/{table.name}.yaml")
    study = read_study(table, args.folders, args.overrides, any_seed=args.plan)
    if args.plan:
        print(study_page.plan(verdicts.plan(study.runs, table.claims, args.effect)))
        return
    print(study_page.verdicts(verdicts.judge(study.runs, table.claims), table.claims))
    if args.output is not None:
        make_folder(args.output, "--output")
        write_study(table, study, args.output)


def main() -> None:
    """Parse the command line and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="table=NAME", type=_name)
    arguments.add_arguments(parser)
    parser.add_argument("--output", metavar="DIR", type=Path, help="write the study to this folder")
    parser.add_argument("--plan", action="store_true", help="print how many seeds the claims need")
    parser.add_argument(
        "--effect", metavar="POINTS", type=float, default=1.0, help="difference that --plan should detect (default: 1)"
    )
    arguments.run(parser, judge)


if __name__ == "__main__":
    main()
