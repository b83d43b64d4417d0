"""Compare runs, fill the paper's tables, judge claims, and write one page about all of it.

    python scripts/report.py [FOLDER...] [table=1,low_data] [--output DIR] [--html FILE] [--card] [--attention N]

FOLDER       with run directories, or with the runs.csv and errors.csv of such a page; default: outputs and results
table=       only the runs of these tables (1 to 8, demo, low_data, ...); their claims are judged
preset=      quick: the scaled-down runs of reproduce.py preset=quick
source=      files or generate: which corrupted images; by default what most runs have, published files first
--output     for the page (README.md), its figures, all tables (tables.md, .csv, .tex), and the data: runs.csv,
             errors.csv, curves.csv, claims.csv; default: outputs/report
--html       the page as one HTML file; default: index.html in the output folder
--card       instead of all this, the card of the network in each FOLDER: card.md (weights=last: not the best epoch's)
--attention  add Figure 2: class activation maps of the networks in the FOLDERs on N test images, clean and with boxes
Every other KEY=VALUE is an override that was given to each run of the tables, as in precision=bf16.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.reproduction.arguments import command, exit_with


def main() -> None:
    """Parse the command line, write, print the comparison; what cannot be counted makes the exit status 2."""
    parser = argparse.ArgumentParser(usage="see --help", add_help=False)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--output", type=Path, default=Path("outputs/report"))
    parser.add_argument("--html", type=Path)
    parser.add_argument("--card", action="store_true")
    parser.add_argument("--attention", metavar="N", type=int)
    args = parser.parse_intermixed_args()

    from scripts.reproduction import reported

    exit_with(reported.cards(args.words) if args.card else reported.write(args))


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
    else:
        command(main)
