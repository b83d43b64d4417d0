"""Exact top-1 and top-5 errors, and calibration beside them, on any number of ranks."""

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smoothmix.evaluation.calibration import calibration_errors
from smoothmix.utils.data import Batch, Batches
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.precision import full_precision


def batch_size(device: torch.device) -> int:
    """Return how many images to evaluate at once: on a CPU so few that their activations stay in its cache."""
    return 500 if device.type == "cuda" else 50


@torch.no_grad()
def score(logits: Tensor, labels: Tensor) -> Tensor:
    """Return what is counted of each image of a batch, logits (N, K) and labels (N,), as float32 (5, N).

    Cross-entropy, Brier score (the squared distance of the probabilities from the one-hot label, 0 to 2), 1 for a top-1
    miss, 1 for a top-5 miss (with fewer than five classes there is none), and the probability of the predicted class.
    """
    logits = logits.float()
    hits = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    probabilities = logits.softmax(1)
    distances = probabilities.scatter_add(1, labels[:, None], -torch.ones_like(probabilities))
    loss = F.cross_entropy(logits, labels, reduction="none")
    misses = 1 - hits[:, 0].float(), 1 - hits.sum(1, dtype=torch.float32)
    return torch.stack([loss, distances.square().sum(1), *misses, probabilities.amax(1)])


def evaluate(
    model: nn.Module,
    batches: Batches,
    ranks: Ranks,
    wait: Callable[[Batches], Iterator[Batch]] = iter,
    after_batch: Callable[[], None] = lambda: None,
    channels_last: bool = False,
) -> dict[str, float]:
    """Return ``{images, loss, top1_error, top5_error, brier, ece, adaptive_ece}`` of `model`, computed in float32.

    Errors and calibration errors are in percent; `loss` is the mean negative log-likelihood, `brier` the mean Brier
    score (0 to 2), and :func:`calibration_errors` defines the others. `batches` are this rank's, as a data set's
    `eval_batches` returns them: every image is on one rank only, so all is exact for any number of ranks. `wait` makes
    the iterator over them. `after_batch` is called equally often on every rank. The model's training mode is put back.
    """
    training = model.training
    model.eval()
    scores = [torch.empty(5, 0, device=ranks.device)]
    rounds = max(ranks.gather(len(batches)))  # one rank may have a batch more than another
    remaining = wait(batches)
    with torch.inference_mode(), full_precision():
        for _ in range(rounds):
            for images, labels in itertools.islice(remaining, 1):
                if channels_last:
                    images = images.contiguous(memory_format=torch.channels_last)
                scores.append(score(model(images), labels))
            after_batch()
    model.train(training)
    of_images = torch.cat(ranks.gather(torch.cat(scores, 1).cpu()), 1).double()
    n = of_images.shape[1]
    loss, brier, top1, top5, _ = of_images.sum(1).tolist()
    errors = {"loss": loss / n, "top1_error": 100 * top1 / n, "top5_error": 100 * top5 / n, "brier": brier / n}
    return {"images": n, **errors, **calibration_errors(of_images[4], 1 - of_images[2])}
