"""Draw docs/mixcheck.png: how one-hot channel images show whether labels follow pixels.

python scripts/mixcheck_picture.py
"""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes

from smoothmix import gaussian_mask
from smoothmix.check.subject import one_hot_channels
from smoothmix.mixing.blend import blend
from smoothmix.utils.command import run

OUTPUT = Path("docs/mixcheck.png")
COLOURS = ("#d1495b", "#edae49")  # of images 0 and 1, and of their labels


def main() -> None:
    """Draw two images, their mix, its pixel shares, and right and swapped targets."""
    images = one_hot_channels(2, 32, 32)
    mask = gaussian_mask((32, 32), (torch.tensor([11.0]), torch.tensor([18.0])), torch.tensor([8.0]))
    mixed, targets = blend(images, torch.eye(2), torch.tensor([1, 0]), mask)
    figure, axes = plt.subplots(1, 6, figsize=(9, 1.9), width_ratios=(1, 1, 1, 0.8, 0.8, 0.8), layout="constrained")
    for ax, image, title in zip(
        axes, (*images, mixed[0]), ("image 0", "its partner, 1", "image 0, mixed"), strict=False
    ):
        colours = torch.tensor([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in COLOURS])
        ax.imshow(torch.einsum("chw,cr->hwr", image, colours).clamp(0, 1))
        ax.set_title(title, fontsize=9)
        ax.axis("off")
    bar(axes[3], mixed[0].mean(dim=(1, 2)), "pixel shares")
    bar(axes[4], targets[0], "targets: pass")
    bar(axes[5], targets[0].flip(0), "swapped: FAIL")
    figure.savefig(OUTPUT, dpi=110)
    print(OUTPUT)


def bar(ax: Axes, shares: torch.Tensor, title: str) -> None:
    """Stack two shares, the first at the bottom, and write them in."""
    bottom = 0.0
    for share, colour in zip(shares.tolist(), COLOURS, strict=True):
        ax.bar(0, share, bottom=bottom, color=colour, width=1)
        ax.text(0, bottom + share / 2, f"{share:.2f}", ha="center", va="center", fontsize=9)
        bottom += share
    ax.set_title(title, fontsize=9)
    ax.axis("off")


if __name__ == "__main__":
    run(main)
