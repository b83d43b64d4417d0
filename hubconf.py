"""What torch.hub finds here: torch.hub.load(CLONE, "pretrained", FOLDER, source="local")."""

dependencies = ["torch", "omegaconf", "safetensors", "timm"]


def pretrained(folder):
    """Return the network that scripts/export.py wrote to `folder`, in evaluation mode."""
    from smoothmix.pretrained import load_pretrained

    return load_pretrained(folder)
