"""Networks of torchvision, by their class."""

from typing import Any

from torch import nn

from smoothmix.utils.errors import UserError


def torchvision_model(architecture: str, num_classes: int, **options: Any) -> nn.Module:
    """Build a network of `torchvision.models`, from scratch.

    Args:
        architecture: name of a class there, e.g. "DenseNet".
        num_classes: number of classes.
        options: given to the class, e.g. `growth_rate=12`.

    Raises:
        UserError: torchvision has no such class.
    """
    from torchvision import models  # here, because it takes a second and most networks do without

    network = getattr(models, architecture, None)
    if not (isinstance(network, type) and issubclass(network, nn.Module)):
        raise UserError(f"torchvision.models has no class {architecture}; give one of its classes, such as DenseNet")
    built: nn.Module = network(num_classes=num_classes, **options)
    return built
