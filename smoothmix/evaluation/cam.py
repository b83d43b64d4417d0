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
