"""Write the paper's tables with our errors beside, from the records of finished runs: Markdown, LaTeX and CSV."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.reproduction import arguments as record_arguments

DEFAULT = Path("results/tables")


def main() -> None:
    """Read the records, write a file of each kind for each table, print what was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    record_arguments.add_arguments(parser)
    parser.add_argument("--table", metavar="N", nargs="+", help="1 to 8, or demo (default: all eight)")
    parser.add_argument("--preset", default="paper", help="quick: the scaled-down runs, in files of their own")
    parser.add_argument("--output", type=Path, default=DEFAULT)
    parser.add_argument(
        "--readme", type=Path, help="index of all eight; beside the default --output: results/README.md"
    )
    record_arguments.run(parser, write)


def write(args: argparse.Namespace) -> None:
    """Write what the command line asks for."""
    from scripts.reproduction.filled_tables import OF_THE_PAPER, cells_of, filled_table
    from scripts.reproduction.tables import load_table
    from smoothmix.reporting.matching import left_aside
    from smoothmix.reporting.overview import left_aside_line, overview
    from smoothmix.reporting.records import read_folders
    from smoothmix.utils.errors import UserError
    from smoothmix.utils.files import write_text

    if args.overrides and args.output == DEFAULT:
        raise UserError(f"tables of runs with --overrides need an --output of their own: {DEFAULT} holds those without")
    names = args.table or OF_THE_PAPER
    cells = {name: cells_of(load_table(name), args.preset, args.overrides) for name in names}
    found = read_folders(args.folders)
    tables = [filled_table(name, args.preset, cells[name], found, args.overrides) for name in names]
    record_arguments.make_folder(args.output)
    for table in tables:
        for kind, text in (("md", table.markdown()), ("tex", table.latex()), ("csv", table.csv())):
            write_text(args.output / f"{table.name}.{kind}", text)
        there, wanted = sum(n for _, n, _ in table.counts), sum(of for _, _, of in table.counts)
        print(f"{args.output / table.name}.md .tex .csv: {there} of {wanted} runs")
    aside = left_aside(found.runs, [cell for of_table in cells.values() for cell in of_table])
    print(left_aside_line(aside))
    readme = args.readme or (Path("results/README.md") if args.output == DEFAULT else None)
    if readme and names == OF_THE_PAPER and args.preset == "paper":
        overrides = ["--overrides", *args.overrides] if args.overrides else []
        command = " ".join(["python scripts/make_tables.py", *map(str, args.folders), *overrides])
        write_text(readme, overview(tables, aside, args.output, readme, command))
        print(readme)
    record_arguments.exit_with(found.problems)


if __name__ == "__main__":
    main()
