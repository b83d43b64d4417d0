"""Draw the figures as SVG and PNG: python scripts/make_figures.py [FOLDER] [--models RUN_DIR...] [--output DIR].

It always draws figure1 (how each method mixes) and figure3 (the masks). With a FOLDER of runs it also draws, for each
setting, the learning curves and, if corrupted evaluations were recorded, their bars and severity curves. With --models
it also draws figure2: class activation maps of those networks on clean and occluded test images.
"""

import argparse
import re
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before any installed package named `datasets`
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback

import torch

from datasets import digits
from datasets.augment import normalize
from scripts.reproduction.arguments import exit_with
from smoothmix.config.load_run import load_run
from smoothmix.config.options import LoadOptions
from smoothmix.evaluation import occlusion
from smoothmix.reporting import figures, mask_figures
from smoothmix.reporting.comparison import CorruptionSetting, Setting, by_setting
from smoothmix.reporting.curves import learning_curves
from smoothmix.reporting.methods import name_of
from smoothmix.reporting.occlusion import attention
from smoothmix.reporting.records import Found, read_folders
from smoothmix.utils.command import run
from smoothmix.utils.errors import UserError

TINTS = torch.tensor([[0.10, 0.25, 0.55], [0.75, 0.35, 0.05]])  # backgrounds, or a box of one digit would not show
DIGITS = 0, 4


def two_digits() -> torch.Tensor:
    """Return two handwritten digits in white on backgrounds of different colours, (2, 3, 32, 32) in [0, 1]."""
    images, labels = digits().arrays("test")
    ink = torch.stack([images[labels == digit][0] for digit in DIGITS]).permute(0, 3, 1, 2) / 255
    return ink + (1 - ink) * TINTS[:, :, None, None]


def from_records(found: Found, folder: Path, output: Path) -> list[Path]:
    """Draw what was `found` beneath `folder`; return the files."""
    written = []
    for setting, runs in by_setting(found.runs, Setting).items():
        written += figures.save(learning_curves(runs, str(setting)), output / f"curves-{_file_name(setting)}")
    for where, corrupted in by_setting(found.corrupted, CorruptionSetting).items():
        for kind, draw in (("corruptions", figures.corruption_bars), ("severities", figures.severity_curves)):
            written += figures.save(draw(corrupted, str(where)), output / f"{kind}-{_file_name(where)}")
    if not written:
        raise UserError(f"there is no finished run and no record of corrupted errors beneath {folder}; train one first")
    return written


def _file_name(setting: tuple[object, ...]) -> str:
    return re.sub(r"[^\w.-]+", "_", "-".join(map(str, setting)))


def of_networks(directories: list[Path], images: int, seed: int, output: Path) -> list[Path]:
    """Draw Figure 2; return the files."""
    networks, fingerprint = [], None
    for directory in directories:
        loaded = load_run(LoadOptions(run=str(directory)))
        data = loaded.data
        if fingerprint not in (None, data.fingerprint):
            raise UserError(f"{directory} was trained on other data than {directories[0]}; give runs on one data set")
        fingerprint = data.fingerprint
        networks.append((name_of(loaded.config.method), loaded.model.cpu().eval()))
    sample = occlusion.sample(data, images, seed)
    figure = attention(networks, *sample, lambda batch: normalize(batch, data.mean, data.std), data.class_names)
    return figures.save(figure, output / "figure2")


def main() -> None:
    """Parse the command line, draw, print the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="folder of runs")
    parser.add_argument("--models", nargs="+", type=Path, default=[], metavar="RUN_DIR", help="networks of figure2")
    parser.add_argument("--images", type=int, default=3, help="test images in figure2 (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="seed of figure2's images and boxes (default: 0)")
    parser.add_argument("--output", type=Path, default=Path("outputs/figures"), help="default: outputs/figures")
    args = parser.parse_args()
    names = (str(DIGITS[0]), str(DIGITS[1]))
    written = figures.save(mask_figures.overview(two_digits(), names), args.output / "figure1")
    written += figures.save(mask_figures.gallery(), args.output / "figure3")
    found = read_folders([args.folder] if args.folder else [])
    if args.folder is not None:
        written += from_records(found, args.folder, args.output)
    if args.models:
        written += of_networks(args.models, args.images, args.seed, args.output)
    print("\n".join(map(str, written)))
    exit_with(found.problems)


if __name__ == "__main__":
    run(main)
