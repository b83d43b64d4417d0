"""Figure 2: class activation maps of networks on clean and on occluded test images."""

from typing import Any

from matplotlib.figure import Figure
from torch import Tensor, nn

from smoothmix.evaluation.cam import class_activation_maps
from smoothmix.evaluation.occlusion import CONDITIONS, occlude


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
