"""Write the report: one HTML page with the tables, the figures, the audit of the paper, and every finished run."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.reproduction import arguments as record_arguments


def main() -> None:
    """Read the records, write the page, print where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    record_arguments.add_arguments(parser)
    parser.add_argument("--figures", type=Path, default=Path("results/figures"))
    parser.add_argument("--audit", type=Path, default=Path("results/audit.md"))
    parser.add_argument("--output", type=Path, default=Path("results/report/index.html"))
    record_arguments.run(parser, write)


def write(args: argparse.Namespace) -> None:
    """Write what the command line asks for: the paper's tables, and others that have a run."""
    from scripts.reproduction.filled_tables import OF_THE_PAPER, cells_of, filled_table
    from scripts.reproduction.tables import PRESETS, load_table
    from smoothmix.reporting.matching import match
    from smoothmix.reporting.records import read_folders
    from smoothmix.reporting.report import find_figures, report
    from smoothmix.utils.files import write_text

    found = read_folders(args.folders)
    tables = []
    for preset in PRESETS:
        for name in [*OF_THE_PAPER, "demo"]:
            cells = cells_of(load_table(name), preset, args.overrides)
            if (name in OF_THE_PAPER and preset == "paper") or match(found.runs, cells):
                tables.append((filled_table(name, preset, cells, found, args.overrides, args.sources), cells))
    audit = args.audit.read_text(encoding="utf-8") if args.audit.is_file() else None
    figures = find_figures(args.figures)
    record_arguments.make_folder(args.output.parent)
    write_text(args.output, report(tables, found.runs, figures, audit))
    print(f"{args.output}: {len(tables)} tables, {len(figures)} figures, {len(found.runs)} runs")
    print("without the audit: there is no " + str(args.audit) if audit is None else f"with {args.audit}")
    record_arguments.exit_with(found.problems)


if __name__ == "__main__":
    main()
