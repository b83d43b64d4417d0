"""What the command lines of the scripts share: where the records lie, and the overrides of the runs.

It imports nothing heavy, so that --help is there at once.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

SOURCES = ("files", "generate")  # of corrupted images
TABLES = Path(__file__).resolve().parents[2] / "configs" / "table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add FOLDER..., --overrides and --source to `parser`."""
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="*", help="default: outputs and results")
    parser.add_argument(
        "--overrides", metavar="KEY=VALUE", nargs="+", default=[], help="given to every run, as in precision=bf16"
    )
    parser.add_argument("--source", choices=SOURCES, help="of corrupted images (default: files where there are any)")


def run(parser: argparse.ArgumentParser, task: Callable[[argparse.Namespace], int | None]) -> None:
    """Parse the command line and do `task`."""
    args = parser.parse_args()
    # an option that takes several values takes the folders behind them as well
    args.overrides, behind_overrides = _split(args.overrides, lambda word: "=" in word or word.startswith("~"))
    names, behind_table = _split(getattr(args, "table", None) or [], _is_table)
    args.table, args.folders = names, [*args.folders, *map(Path, behind_table), *map(Path, behind_overrides)]
    if not args.folders:
        args.folders = [folder for folder in (Path("outputs"), Path("results")) if folder.is_dir()]
    args.sources = [args.source] if args.source else SOURCES

    command(lambda: task(args))


def command(main: Callable[[], int | None]) -> None:
    """Do what smoothmix.utils.command.run does; Ctrl-C ends the imports before it without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from smoothmix.utils.command import run

    run(main)


def exit_with(problems: Sequence[str]) -> None:
    """Print what could not be counted, a sentence each, and exit with status 2 if there is any."""
    for sentence in problems:
        print(f"error: {sentence}", file=sys.stderr)
    if problems:
        sys.exit(2)


def _is_table(word: str) -> bool:
    return (TABLES / f"{word}.yaml").is_file() or not Path(word).is_dir()


def _split(words: list[str], belongs: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    return [word for word in words if belongs(word)], [word for word in words if not belongs(word)]
