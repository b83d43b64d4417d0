"""Download a data set, check it, and unpack it: python scripts/download.py cifar100 [--root data].

The names are cifar10, cifar100, cifar10_c, cifar100_c and imagenet_c. Of imagenet_c (62 GB) you can choose the parts
noise, blur, weather, digital and extra. Interrupted downloads resume.
"""

import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before any installed package named `datasets`
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback

from datasets import cifar
from datasets.corrupted_sets import ARCHIVES, CORRUPTED, GENERATED
from datasets.download import fetch
from smoothmix.utils.command import run
from smoothmix.utils.errors import UserError, nearest

RELEASES = {release.name: release for release in (cifar.CIFAR10, cifar.CIFAR100)}


def main() -> None:
    """Parse the command line and fetch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[*RELEASES, *ARCHIVES])
    parser.add_argument("parts", nargs="*", metavar="PART", help="parts of imagenet_c (default: all five)")
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder for the data (default: data)")
    parser.add_argument("--delete-archive", action="store_true", help="delete each archive once it is unpacked")
    args = parser.parse_args()
    root = args.root.expanduser()
    if args.name in RELEASES:
        release = RELEASES[args.name]
        title, folder, into, archives = release.title, root / release.folder, root, {"all": release.archive}
    else:
        corrupted = CORRUPTED[args.name]
        title, folder, archives = corrupted.title, root / corrupted.folder, ARCHIVES[args.name]
        into = folder if args.name == "imagenet_c" else root
        if (folder / GENERATED).exists():
            raise UserError(f"{folder} holds files generated here ({GENERATED}): move it away or give another root")
    for part in args.parts:
        if part not in archives:
            raise UserError(f"unknown part {part!r}; {nearest(part, archives)}")
    for archive in [archives[part] for part in args.parts or archives]:
        fetch(archive, into)
        if args.delete_archive:
            (into / archive.name).unlink(missing_ok=True)
    if args.name in RELEASES:
        cifar.read_files(release, root)
    print(f"{title} is in {folder}")


if __name__ == "__main__":
    run(main)
