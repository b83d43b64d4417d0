"""Draw Figure 1, how each method mixes two images, and Figure 3, the masks: python results/figures/draw.py

The mixing operations themselves draw them. The photographs are the two that scikit-learn ships (README.md names their
authors).
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms import functional as TF

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from smoothmix.mixing.blend import blend, erase, label_weight
from smoothmix.mixing.cutmix import cutmix_mask
from smoothmix.mixing.masks import box_mask, gaussian_mask, square_mask
from smoothmix.reporting.figures import png, svg
from smoothmix.reporting.methods import name_of

SIDE = 224
NAMES = ("flower", "temple")


class Example(NamedTuple):
    """What a method made of two images: its mask (H, W), the image (3, H, W), the labels' weights."""

    method: str
    mask: Tensor
    image: Tensor
    weights: tuple[float, float]


def photographs() -> Tensor:
    """Return a flower and a temple, (2, 3, SIDE, SIDE) in [0, 1]."""
    from sklearn.datasets import load_sample_image

    images = [torch.tensor(load_sample_image(name)).permute(2, 0, 1) / 255 for name in ("flower.jpg", "china.jpg")]
    return torch.stack([TF.center_crop(TF.resize(image, SIDE, antialias=True), [SIDE, SIDE]) for image in images])


def mixing_examples(images: Tensor) -> list[Example]:
    """Mix two images (2, 3, S, S) in [0, 1] by each method, with settings near the middle of what it draws."""
    side = images.shape[-1]
    size, center, numbers = (side, side), (0.55 * side, 0.6 * side), torch.ones(1)
    hole, place = (0.3 * side * numbers, 0.3 * side * numbers), (0.55 * side * numbers, 0.6 * side * numbers)
    masks = {
        "cutout": 1 - box_mask(size, hole, (side // 2 * numbers, side // 2 * numbers)),
        "mixup": torch.full((1, 1, side, side), 0.5),
        "cutmix": cutmix_mask(size, (place[0].floor(), place[1].floor()), 0.7 * numbers),
        "smoothmix_s": square_mask(size, center, 0.6 * side * numbers, 0.2),
        "smoothmix_c": gaussian_mask(size, center, 0.3 * side * numbers),
    }
    examples = []
    for method, mask in masks.items():
        if method == "cutout":  # no second image, and the label stays whole
            mixed, weights = erase(images[:1], mask), (1.0, 0.0)
        else:
            mixed, targets = blend(images, torch.eye(2), torch.tensor([1, 0]), mask)
            weights = (targets[0, 0].item(), targets[0, 1].item())
        examples.append(Example(method, mask[0, 0], mixed[0], weights))
    return examples


def overview(images: Tensor, names: tuple[str, str]) -> Figure:
    """Draw Figure 1: the two images (2, 3, S, S), and beside them mask, result and label of each method."""
    examples = mixing_examples(images)
    figure = Figure(figsize=(1.75 * (1 + len(examples)), 4.1), layout="constrained")
    columns = figure.subplots(2, 1 + len(examples)).T
    for axes, image, name, symbol in zip(columns[0], images, names, ("x_i", "x_j"), strict=True):
        _show(axes, image)
        axes.set(title=f"${symbol}$", xlabel=name)
    for (above, below), (method, mask, mixed, weights) in zip(columns[1:], examples, strict=True):
        _show(above, mask)
        _show(below, mixed)
        above.set(title=name_of(method), xlabel=f"mean {mask.mean():.2f}")
        label = (f"{weight:.2f} {name}" for weight, name in zip(weights, names, strict=True) if weight)
        below.set_xlabel(" + ".join(label), fontsize="small")
    columns[1][0].set_ylabel("mask: share of $x_i$")
    columns[1][1].set_ylabel("mixed image")
    return figure


def gallery(side: int = 64) -> Figure:
    """Draw Figure 3: masks with the profile of their middle row below, sigma in sides of the image."""
    size, center = (side, side), (side / 2, side / 2)
    squares, circles = (0.25, 0.5, 0.75, 1), (0.25, 0.375, 0.5)
    masks = [
        ("box\n1/2", box_mask(size, center, (side / 2, side / 2))),
        *((f"S\n$\\sigma$ = {share:g}", square_mask(size, center, share * side, 0.2)) for share in squares),
        *((f"C\n$\\sigma$ = {share:g}", gaussian_mask(size, center, share * side)) for share in circles),
    ]
    figure = Figure(figsize=(1.25 * len(masks), 3.0), layout="constrained")
    upper, lower = figure.subplots(2, len(masks), height_ratios=(1, 0.8))
    positions = (torch.arange(side) + 0.5) / side
    for picture, profile, (title, mask) in zip(upper, lower, masks, strict=True):
        _show(picture, mask)
        picture.set_title(title, fontsize="small")
        profile.plot(positions, mask[side // 2].round(decimals=4))  # the last bits differ between CPUs
        profile.set(xlim=(0, 1), ylim=(-0.05, 1.05), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        profile.set_xlabel(f"mean {label_weight(mask[None, None]).item():.3f}", fontsize="small")
        profile.tick_params(labelsize="x-small", labelleft=profile is lower[0])
    lower[0].set_ylabel("share of $x_i$", fontsize="small")
    return figure


def _show(axes: Any, picture: Tensor) -> None:
    """Draw an image (3, H, W) or a mask (H, W), in [0, 1], without ticks."""
    values = picture if picture.ndim == 2 else picture.permute(1, 2, 0)
    axes.imshow(values.clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=(), yticks=())


if __name__ == "__main__":
    (HERE / "figure1.png").write_bytes(png(overview(photographs(), NAMES)))
    (HERE / "figure3.svg").write_bytes(svg(gallery()))
