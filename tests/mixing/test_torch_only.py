"""The library imports nothing but torch and the standard library."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import builtins, sys

# As on a machine without them, wherever the import comes from ...
for name in ("numpy", "torchvision", "timm", "hydra", "omegaconf", "pandas", "matplotlib", "PIL", "sklearn", "scipy"):
    sys.modules[name] = None
import torch

# ... and from smoothmix nothing else at all.
allowed = {"torch", "smoothmix", *sys.stdlib_module_names}
original = builtins.__import__

def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "")
    if importer.split(".")[0] == "smoothmix" and level == 0 and name.split(".")[0] not in allowed:
        raise ImportError(f"{importer} imports {name}")
    return original(name, globals, locals, fromlist, level)

builtins.__import__ = guarded
try:
    exec("import typing_extensions", {"__name__": "smoothmix.bad"})
except ImportError:
    pass
else:
    raise SystemExit("the guard does not guard")

import smoothmix

images, labels = torch.randn(4, 3, 12, 12), torch.arange(4)
for name in smoothmix.__all__:
    if not name[0].isupper():
        continue
    strategy = getattr(smoothmix, name)(num_classes=4, p=1.0)
    if hasattr(strategy, "attach"):
        strategy.attach(torch.nn.ModuleDict({stage: torch.nn.Identity() for stage in strategy.stages}))
    mixed, targets = strategy(images, labels)
    assert mixed.shape == images.shape and targets.shape == (4, 4)
smoothmix.gaussian_mask((4, 4), (2, 2), 1), smoothmix.square_mask((4, 4), (2, 2), 1, 0.2)
smoothmix.box_mask((4, 4), (2, 2), (2, 2))
print("works with torch alone")
"""


def test_works_with_torch_alone():
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "works with torch alone"


def test_public_names():
    import smoothmix

    of_the_paper = {"CenterGaussian", "CutMix", "Cutout", "HideAndSeek", "Identity", "LabelSmoothing", "ManifoldMixup"}
    strategies = sorted(of_the_paper | {"Mixup", "SmoothMixC", "SmoothMixS"})
    assert sorted(smoothmix.__all__) == [*strategies, "box_mask", "gaussian_mask", "square_mask"]
    assert all(hasattr(smoothmix, name) for name in smoothmix.__all__)
