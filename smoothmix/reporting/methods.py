"""The methods as tables and figures name and order them."""

METHODS = {
    "identity": "Baseline",
    "stochdepth": "StochDepth",
    "label_smoothing": "Label smoothing",
    "cutout": "Cutout",
    "hide_and_seek": "Hide-and-Seek",
    "dropblock": "DropBlock",
    "mixup": "Mixup",
    "manifold_mixup": "Manifold Mixup",
    "autoaugment": "AutoAugment",
    "augmix": "AugMix",
    "shakedrop": "ShakeDrop",
    "cutmix": "CutMix",
    "shakedrop_cutmix": "ShakeDrop + CutMix",
    "smoothmix_s": "SmoothMix_S",
    "center_gaussian": "Center Gaussian",
    "center_gaussian_4": "Center Gaussian (sigma=4)",
    "center_gaussian_12": "Center Gaussian (sigma=12)",
    "sigma_8": "SmoothMix_C (sigma=8)",
    "sigma_12": "SmoothMix_C (sigma=12)",
    "sigma_16": "SmoothMix_C (sigma=16)",
    "smoothmix_c": "SmoothMix_C",
}
PLACES = {method: place for place, method in enumerate(METHODS)}


def name_of(method: str) -> str:
    """Return the name of a method as tables and figures print it; one that is not in METHODS as it is."""
    return METHODS.get(method, method)


def place_of(method: str) -> tuple[int, str]:
    """Return what sorts methods: in the order of METHODS, the others behind them by name."""
    return PLACES.get(method, len(PLACES)), method
