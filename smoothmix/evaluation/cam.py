"""Class activation maps (Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smoothmix.utils.errors import UserError
from smoothmix.utils.numerics import full_precision


@torch.no_grad()
@full_precision()
def class_activation_maps(model: nn.Module, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return what each place of an image adds to the logit of a class, and the logits.

    The class's weights of the linear layer are applied to every place of the map that the head averages; the mean of
    the result plus the layer's bias is the logit. It is enlarged to the image bilinearly.

    Args:
        model: a network in evaluation mode whose `forward_features` gives a map (N, C, h, w), followed by global
            average pooling and a linear layer: PyramidNet here, ResNets and others of timm.
        images: (N, 3, H, W), normalised.
        classes: (N,), int64.

    Returns:
        maps (N, H, W), float32 of either sign, and logits (N, K).

    Raises:
        UserError: the network has another kind of head.
    """
    features, head = _features(model, images)
    logits = head(features.mean(dim=(2, 3)))
    # one image is enough to see whether the head is what we take it for
    if not torch.allclose(model(images[:1]), logits[:1], rtol=1e-3, atol=1e-3):
        raise UserError(_unfit(model))
    maps = torch.einsum("nchw,nc->nhw", features, head.weight[classes])
    large = F.interpolate(maps[:, None], size=images.shape[-2:], mode="bilinear", align_corners=False)
    return large[:, 0], logits


def share_inside(maps: Tensor, mask: Tensor) -> Tensor:
    """Return the share of each map's mass that lies where `mask` is 1, in [0, 1].

    The mass is the map above its own minimum, as maps are usually drawn. A flat map points nowhere: its mass is spread
    evenly.

    Args:
        maps: (N, H, W), of either sign.
        mask: (N, H, W), of zeros and ones.

    Returns:
        (N,), float32.
    """
    mass = maps - maps.amin(dim=(1, 2), keepdim=True)
    total = mass.sum(dim=(1, 2), keepdim=True)
    mass = torch.where(total > 0, mass, torch.ones_like(mass))
    return (mass * mask).sum(dim=(1, 2)) / mass.sum(dim=(1, 2))


def _features(model: nn.Module, images: Tensor) -> tuple[Tensor, nn.Linear]:
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers or not hasattr(model, "forward_features"):
        raise UserError(_unfit(model))
    features = model.forward_features(images)  # type: ignore[operator]
    if features.ndim != 4 or features.shape[1] != layers[-1].in_features:
        raise UserError(_unfit(model))
    return features, layers[-1]


def _unfit(model: nn.Module) -> str:
    return (
        f"{type(model).__name__} does not end in global average pooling and a linear layer, which class activation "
        "maps need; choose a PyramidNet or a ResNet"
    )
