"""Recompute what the paper's own tables allow: python scripts/audit_paper.py [--output results/audit.md]."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from smoothmix.reporting.audit import audit
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import write_text

PAPER = Path(__file__).resolve().parent.parent / "results" / "paper"
HEAD = """# The paper, recomputed

Made by `python scripts/audit_paper.py --output results/audit.md` from the numbers that the paper prints
(`results/paper/`), its text and its equations. Errors are in %.

"""


def main() -> int:
    """Print the audit as Markdown, or write it to a file; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="write here instead of printing")
    output = parser.parse_args().output
    text = HEAD + audit(PAPER).to_markdown(index=False, disable_numparse=True) + "\n"
    if output is None:
        print(text, end="")
        return 0
    try:
        write_text(output, text)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
