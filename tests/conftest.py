"""A data set and networks small enough to train many times."""

import numpy as np
import pytest
import torch
from torch import nn

from datasets.in_memory import InMemoryData


@pytest.fixture
def tiny_data():
    """46 training, 23 test images of 8x8 in 4 classes; no number of ranks up to 5 divides the test set but 1."""

    def make(val_split=0, seed=0, **options):
        rng = np.random.default_rng(seed)

        def split(n):
            labels = np.arange(n) % 4
            images = rng.integers(0, 160, (n, 8, 8, 3), dtype=np.uint8)
            images[np.arange(n), labels * 2] += 90  # a bright row tells the class
            return images, labels

        options = {"padding": 1, "val_split": val_split} | options
        return InMemoryData(split(46), split(23), list("abcd"), (0.4,) * 3, (0.3,) * 3, **options)

    return make


@pytest.fixture
def tiny_model():
    """A network with BatchNorm and dropout, always initialised alike."""

    def make(seed=0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.Dropout(0.2),
                nn.AdaptiveAvgPool2d(4),
                nn.Flatten(),
                nn.Linear(128, 4),
            )

    return make
