"""Recompute the paper's claims from its own tables: python scripts/audit_paper.py [--output results/audit.md]."""

import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback

from smoothmix.reporting.audit import audit
from smoothmix.reporting.markup import markdown
from smoothmix.utils.command import run
from smoothmix.utils.files import write_text

PAPER = Path(__file__).resolve().parent.parent / "results" / "paper"
HEAD = """# The paper, recomputed

Made by `python scripts/audit_paper.py --output results/audit.md` from the numbers that the paper prints
(`results/paper/`), its text and its equations. Errors are in %.

"""


def main() -> None:
    """Print the audit as Markdown, or write it to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="write here instead of printing")
    output = parser.parse_args().output
    text = f"{HEAD}{markdown(audit(PAPER))}\n"
    if output is None:
        print(text, end="")
    else:
        write_text(output, text)


if __name__ == "__main__":
    run(main)
