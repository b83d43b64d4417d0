"""What torch.hub finds here: torch.hub.load(CLONE, "pretrained", FOLDER, source="local")."""

import sys
from pathlib import Path

dependencies = ["torch", "omegaconf", "safetensors", "timm"]
OURS = ("models", "datasets")  # packages of this folder, whose names others have too


def pretrained(folder):
    """Return the network that scripts/export.py wrote to `folder`, in evaluation mode.

    Other packages of the names `OURS` are as they were afterwards, imported or not.
    """
    from smoothmix.pretrained import load_pretrained

    path, theirs = [*sys.path], _take_away()
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        return load_pretrained(folder)
    finally:
        sys.path[:] = path
        _take_away()
        sys.modules.update(theirs)


def _take_away():
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in OURS}
