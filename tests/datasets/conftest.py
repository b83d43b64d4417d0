from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def pictures():
    """Return a function that makes n square images that are told apart by any of their pixels' neighbourhoods."""

    def make(n: int, size: int = 32, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)

    return make


@pytest.fixture(scope="module")
def folder_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("folders")
    rng = np.random.default_rng(3)
    for split, count in (("train", 7), ("val", 4)):
        for name in "abc":
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return root
