"""What boxes over test images do to networks: the table, the plot, and the pictures of the paper's Figure 2."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor, nn

from smoothmix.evaluation.cam import class_activation_maps
from smoothmix.evaluation.occlusion import CONDITIONS, occlude
from smoothmix.reporting.markup import markdown
from smoothmix.reporting.methods import name_of

MEASURES = {"probability": "probability of the true class", "share": "share of the map's mass inside the box"}


def to_markdown(record: dict[str, Any]) -> str:
    """Return the record of `scripts/occlusion.py` as a Markdown table: a row for each network and condition."""
    rows = []
    for model in record["models"]:
        for condition, title in CONDITIONS.items():
            found = model["results"][condition]
            row = {"network": label(model), "images": title}
            for name, measure in MEASURES.items():
                row[measure] = _number(found[name])
                row[f"change of the {name}"] = "-" if condition == "clean" else _number(found[f"{name}_change"], "+")
            rows.append(row)
    return markdown(pd.DataFrame(rows))


def changes(record: dict[str, Any]) -> Figure:
    """Draw the change from clean for each network, image by image, with its standard error."""
    models = record["models"]
    occluded = [condition for condition in CONDITIONS if condition != "clean"]
    figure = Figure(figsize=(9.5, 1.4 + 0.45 * len(models)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (name, title) in zip(panels, MEASURES.items(), strict=True):
        for number, condition in enumerate(occluded):
            found = [model["results"][condition][f"{name}_change"] for model in models]
            axes.errorbar(
                [value["mean"] for value in found],
                [place + 0.2 * (number - 0.5) for place in range(len(models))],
                xerr=[value["error"] for value in found],
                fmt="os"[number],
                markersize=4,
                capsize=3,
                label=CONDITIONS[condition],
            )
        axes.axvline(0, color="grey", linewidth=0.8)
        axes.set_xlabel(f"change of the {title}", fontsize="small")
    panels[0].set_yticks(range(len(models)), [label(model) for model in models])
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize="small")
    return figure


def label(model: dict[str, Any]) -> str:
    """Return how a network is called: its method, and its seed where that is not 0."""
    return name_of(model["method"]) + (f" (seed {model['seed']})" if model["seed"] else "")


def attention(
    networks: list[tuple[str, nn.Module]],
    images: Tensor,
    labels: Tensor,
    corners: Tensor,
    side: int,
    normalize: Any,
    class_names: list[str],
) -> Figure:
    """Draw Figure 2: clean and occluded images, and each network's map of the true class with its probability.

    Args:
        networks: (name, network), on the CPU and in evaluation mode.
        images: uint8 (n, 3, S, S), on the CPU.
        labels: the true classes, int64 (n,).
        corners: of the boxes, int64 (n, 2).
        side: of the boxes, in pixels.
        normalize: makes the networks' input of images in [0, 1].
        class_names: by class.
    """
    rows = len(images) * len(CONDITIONS)
    figure = Figure(figsize=(1.6 + 1.5 * len(networks), 1.45 * rows), layout="constrained")
    panels = figure.subplots(rows, 1 + len(networks), squeeze=False)
    for number, (condition, title) in enumerate(CONDITIONS.items()):
        seen = occlude(images.float() / 255, corners, side, condition)
        of_condition = panels[number :: len(CONDITIONS)]
        for axes, image, true in zip(of_condition[:, 0], seen, labels.tolist(), strict=True):
            axes.imshow(image.permute(1, 2, 0).numpy())
            axes.set_title(class_names[true] if condition == "clean" else title, fontsize="x-small")
        for column, (name, network) in enumerate(networks, start=1):
            maps, logits = class_activation_maps(network, normalize(seen), labels)
            probabilities = logits.softmax(dim=1).gather(1, labels[:, None])[:, 0].tolist()
            for axes, image, heat, probability in zip(of_condition[:, column], seen, maps, probabilities, strict=True):
                axes.imshow(image.mean(dim=0).numpy(), cmap="gray", vmin=0, vmax=1)
                axes.imshow(heat.numpy(), cmap="jet", alpha=0.5)
                axes.set_title(f"{name}: {probability:.3f}", fontsize="x-small")
    for axes in panels.flat:
        axes.set(xticks=(), yticks=())
    return figure


def _number(value: dict[str, float], sign: str = "") -> str:
    return f"{value['mean']:{sign}.4f} ± {value['error']:.4f}"
