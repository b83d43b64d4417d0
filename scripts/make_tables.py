"""Write the paper's tables with our errors added, from the records of finished runs: Markdown, LaTeX and CSV.

Tables that have no run yet are only listed in the index, with the command that fills them.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.reproduction import arguments


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    arguments.add_arguments(parser)
    parser.add_argument("--table", metavar="N", nargs="+", help="1 to 8, demo, ... (default: the paper's eight)")
    parser.add_argument("--preset", default="paper", help="quick: the scaled-down runs, in files of their own")
    parser.add_argument("--output", type=Path, default=Path("outputs/tables"), help="default: outputs/tables")
    parser.add_argument("--readme", type=Path, help="index of all eight (default: README.md in the output folder)")
    arguments.run(parser, write)


def write(args: argparse.Namespace) -> None:
    """Read the records, write a file of each kind for each table, print what was written."""
    from scripts.reproduction.filled_tables import OF_THE_PAPER, filled_table
    from scripts.reproduction.tables import load_table, table_runs
    from smoothmix.reporting.paper_tables import ignored_line, overview
    from smoothmix.reporting.records import read_folders
    from smoothmix.reporting.table_cells import ignored_records, match
    from smoothmix.utils.command import shell_command
    from smoothmix.utils.files import make_folder, write_text

    names = args.table or OF_THE_PAPER
    asked = [load_table(name) for name in names]
    cells = [table_runs(table, args.preset, args.overrides) for table in asked]
    found = read_folders(args.folders)
    tables = [
        filled_table(table, args.preset, of_table, found, args.overrides, args.sources)
        for table, of_table in zip(asked, cells, strict=True)
    ]
    make_folder(args.output, "--output")
    for table, of_table in zip(tables, cells, strict=True):
        if not args.table and not match(found.runs, of_table):
            print(f"{table.title}: no run yet")
            continue
        for kind, text in (("md", table.markdown()), ("tex", table.latex()), ("csv", table.csv())):
            write_text(args.output / f"{table.name}.{kind}", text)
        print(f"{args.output / table.name}.md .tex .csv: {table.runs[0]} of {table.runs[1]} runs")
    ignored = ignored_records(found.runs, [cell for of_table in cells for cell in of_table])
    print(ignored_line(ignored))
    if names == OF_THE_PAPER and args.preset == "paper":
        readme = args.readme or args.output / "README.md"
        command = shell_command(["python", "scripts/make_tables.py", *sys.argv[1:]])
        write_text(readme, overview(tables, ignored, args.output, readme, command))
        print(readme)
    arguments.exit_with(found.problems)


if __name__ == "__main__":
    main()
