"""Networks, built from plain arguments: the paper's PyramidNet, and anything timm knows by name."""

from models.pyramidnet import PyramidNet
from models.timm_models import timm_model
from models.torchvision_models import torchvision_model

__all__ = ["PyramidNet", "timm_model", "torchvision_model"]
