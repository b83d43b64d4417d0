"""The strategies that need no network, and generators for them."""

import torch

import smoothmix

ALL = [getattr(smoothmix, name) for name in sorted(smoothmix.__all__) if name[0].isupper() and name != "ManifoldMixup"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)
