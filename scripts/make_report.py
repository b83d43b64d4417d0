"""Write the report, one HTML page: your runs compared, corrupted images, the paper's tables, the ledger of all runs."""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.reproduction import arguments

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Read the records, write the page, print where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    arguments.add_arguments(parser)
    parser.add_argument("--output", type=Path, default=Path("outputs/report/index.html"))
    arguments.run(parser, write)


def write(args: argparse.Namespace) -> None:
    """Write the page; what cannot be read is named in it, on stderr, and by the exit status."""
    from tqdm import tqdm

    from scripts.reproduction.reported import contents
    from smoothmix.reporting.records import read_folders
    from smoothmix.reporting.report import report
    from smoothmix.utils.files import make_folder, write_text

    make_folder(args.output.parent, "--output")
    with tqdm(bar_format="{desc} ({elapsed})", disable=not sys.stderr.isatty()) as line:

        def progress(what: str) -> None:
            line.set_description_str(f"report: {what}")

        progress("reading records")
        found = read_folders(args.folders)
        command = shlex.join(["python", "scripts/make_report.py", *sys.argv[1:]])
        page = report(found, contents(found, args, command, progress), progress)
    write_text(args.output, page)
    print(f"{args.output}: {len(found.runs)} finished runs, {len(found.unfinished)} unfinished")
    arguments.exit_with(found.problems)


if __name__ == "__main__":
    main()
