from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "corruptions"
ORDER = [
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
    "speckle_noise", "gaussian_blur", "spatter", "saturate",
]  # fmt: skip
BASE_SEED = {"cifar": 1000, "imagenet": 3000}


class Reference:
    """Outputs of the original code: clean images and corrupted ones, uint8 (N, 3, S, S)."""

    def __init__(self, benchmark):
        self.benchmark = benchmark
        self.arrays = np.load(REFERENCE / f"{benchmark}_c_reference.npz")
        self.clean = torch.from_numpy(self.arrays["clean"]).permute(0, 3, 1, 2).contiguous()

    @cache  # noqa: B019 (the file decompresses an array anew at each access)
    def _array(self, name):
        return torch.from_numpy(self.arrays[name]).permute(0, 1, 4, 2, 3).contiguous()

    def corrupted(self, name, severity):
        return self._array(name)[severity - 1]

    def random_state(self, name, severity):
        """NumPy's generator as it stood when the original code started on these images."""
        return np.random.RandomState(BASE_SEED[self.benchmark] + 10 * ORDER.index(name) + severity)


@cache
def _reference(benchmark):
    return Reference(benchmark)


@pytest.fixture(scope="session")
def reference():
    """Return a function from benchmark to Reference."""
    if not REFERENCE.is_dir():
        pytest.skip("needs the outputs of the original corruption code in ../shared/corruptions")
    return _reference
