"""Strategies, corruptions and the check of laws import nothing but torch and the standard library."""

import subprocess
import sys

import smoothmix
from tests.commands import ROOT
from tests.mistakes import one_line

SCRIPT = """
import builtins, runpy, sys

# As on a machine without them, wherever the import comes from ...
missing = "cv2 hydra kornia matplotlib numpy omegaconf pandas PIL scipy sklearn timm torchvision tqdm"
for name in missing.split():
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

from smoothmix.corruptions import CORRUPTIONS, corrupt

images = torch.full((2, 3, 32, 32), 100, dtype=torch.uint8)
images[..., 16:] = 200
for name in CORRUPTIONS:
    try:
        corrupt(images, name, 3, generator=torch.Generator().manual_seed(0))
    except ImportError as error:
        print(f"{name}: {error}")

import models  # not of the package: it may import other things, but timm only when a network of it is asked for

sys.argv[1:] = ["smoothmix:LabelSmoothing", "--not-applicable", "pairs", "it has none"]
runpy.run_module("smoothmix.check", run_name="__main__")
"""


def test_works_with_torch_alone():
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    refused, report = done.stdout.split("LabelSmoothing: FAILED")  # labels are not the shares of pixels
    needs = {"frost": "pillow", "spatter": "opencv-python-headless", "jpeg_compression": "opencv-python-headless"}
    for line, (name, package) in zip(refused.splitlines(), needs.items(), strict=True):
        one_line(line, f"{name}: ", f"pip install {package}")
    assert "it has none" in report
    assert done.returncode == 1, done.stderr


OTHERS = ["box_mask", "gaussian_mask", "square_mask", "timm_mixup", "torchvision_cutmix", "torchvision_mixup"]


def test_public_names():
    of_the_paper = {"CenterGaussian", "CutMix", "Cutout", "HideAndSeek", "Identity", "LabelSmoothing", "ManifoldMixup"}
    strategies = sorted(of_the_paper | {"Mixup", "SmoothMixC", "SmoothMixS"})
    assert sorted(smoothmix.__all__) == [*strategies, *OTHERS]
    assert all(hasattr(smoothmix, name) for name in smoothmix.__all__)
