"""Calibration: how far the confidence of a network is from its accuracy."""

import torch
from torch import Tensor

BINS = 15  # as Guo et al., On Calibration of Modern Neural Networks, ICML 2017
MEASURES = {  # of an evaluation, beside its errors: {key in records: name in tables, format}
    "loss": ("NLL", ".3f"),
    "brier": ("Brier score", ".3f"),
    "ece": ("ECE (%)", ".2f"),
    "adaptive_ece": ("adaptive ECE (%)", ".2f"),
}


def calibration_errors(confidences: Tensor, correct: Tensor) -> dict[str, float]:
    """Return the expected calibration errors ``{ece, adaptive_ece}`` in %.

    That is, over 15 bins of images, the sum of abs(accuracy - mean confidence), weighted by their share of images
    (Guo et al., eq. 3). The bins of `ece` are of equal width, (0, 1/15] to (14/15, 1]; those of `adaptive_ece` hold
    equally many images, up to one, in the order of confidence (Nixon et al., CVPR Workshops 2019; for the top label).
    Images of equal confidence share their mean correctness, so that the order of the images does not matter.

    Args:
        confidences: float64 (N,), probabilities of the predicted classes.
        correct: float64 (N,), 1 where the prediction is right, 0 elsewhere.
    """
    values, inverse, counts = torch.unique(confidences, return_inverse=True, return_counts=True)
    accuracy = torch.bincount(inverse, correct, len(values)) / counts
    gaps = (accuracy - values).repeat_interleave(counts)  # of each image, by confidence
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64, device=confidences.device)[1:-1]
    equal_width = torch.bincount(torch.bucketize(values, edges), (accuracy - values) * counts, BINS)
    equal_mass = torch.stack([part.sum() for part in gaps.tensor_split(BINS)])
    ece, adaptive_ece = (100 * torch.stack([equal_width, equal_mass]).abs().sum(1) / len(gaps)).tolist()
    return {"ece": ece, "adaptive_ece": adaptive_ece}
