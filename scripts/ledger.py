"""Write the ledger of the paper's claims: python scripts/ledger.py [--output results/claims.md].

It joins results/paper/claims.csv (the claims), the audit of the paper's own numbers, and results/<table>/claims.csv
(written by scripts/claims.py table=<table> --output results/<table>).
"""

import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback

import pandas as pd

from smoothmix.reporting.audit import audit
from smoothmix.reporting.ledger import ledger
from smoothmix.reporting.markup import markdown
from smoothmix.utils.command import run
from smoothmix.utils.files import write_text

RESULTS = Path(__file__).resolve().parent.parent / "results"
HEAD = """# The paper's claims

Made by `python scripts/ledger.py --output results/claims.md`; do not edit. The paper's own numbers are audited in
[audit.md](audit.md); our runs are judged as [docs/claims.md](../docs/claims.md) says, on paired seeds: differences are
the first row minus the second, with their 95 % interval.

"""


def page() -> str:
    """Return the ledger as Markdown.

    Raises:
        UserError: the list of claims names one that the audit or a judged table has not.
    """
    judged = {path.parent.name: pd.read_csv(path) for path in sorted(RESULTS.glob("*/claims.csv"))}
    listed = judged.pop("paper")
    return f"{HEAD}{markdown(ledger(listed, audit(RESULTS / 'paper'), judged))}\n"


def main() -> None:
    """Print the ledger, or write it to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write here instead of printing")
    output = parser.parse_args().output
    if output is None:
        print(page(), end="")
    else:
        write_text(output, page())


if __name__ == "__main__":
    run(main)
