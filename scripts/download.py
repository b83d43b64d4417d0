"""Download a data set, check it, and unpack it: python scripts/download.py cifar100 [--root data]."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before any installed package named `datasets`

from datasets import cifar
from smoothmix.errors import UserError

RELEASES = {release.name: release for release in (cifar.CIFAR10, cifar.CIFAR100)}


def main() -> int:
    """Parse the command line and fetch; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=RELEASES)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder to put it in (default: data)")
    args = parser.parse_args()
    release, root = RELEASES[args.name], args.root.expanduser()
    try:
        folder = cifar.fetch(release, root)
        cifar.check(release, root)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{release.title} is in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
