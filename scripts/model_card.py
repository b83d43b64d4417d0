"""Write a Markdown page about one network, from the records of eval.py and eval_corruption.py beside its weights."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.reproduction.arguments import command, exit_with


def main() -> None:
    """Read the records, write the page; what cannot be read goes to stderr, and the exit status is then 2."""
    from smoothmix.reporting.card import read_evaluations, write_card
    from smoothmix.utils.files import make_folder

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the records are: a run directory, or the output= of eval.py")
    parser.add_argument("--weights", help="whose records, as in last (default: the only ones, or best)")
    parser.add_argument("--output", type=Path, help="the page (default: card.md in the folder)")
    args = parser.parse_args()
    path = args.output or args.folder / "card.md"
    found = read_evaluations(args.folder, args.weights)
    make_folder(path.parent, "--output")
    write_card(found, path)
    print(f"{path}: {len(found.all)} evaluations")
    exit_with(found.problems)


if __name__ == "__main__":
    command(main)
