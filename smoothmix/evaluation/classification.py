"""Exact top-1 and top-5 errors, and calibration beside them, on any number of ranks."""

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smoothmix.evaluation.calibration import calibration_errors
from smoothmix.utils.data import Batch, Batches
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.numerics import full_precision, untuned


def batch_size(device: torch.device) -> int:
    """Return how many images to evaluate at once: on a CPU so few that their activations stay in its cache."""
    return 500 if device.type == "cuda" else 50


@torch.no_grad()
def score(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return what is summed over a batch of logits (N, K) with labels (N,), and what is kept of each image.

    The sums are float64 (5,) on the device: images, cross-entropy, top-1 misses, top-5 misses (with fewer than five
    classes there are none), Brier score (the squared distance of the probabilities from the one-hot label, 0 to 2). Of
    each image, float32 (2, N): the probability of the predicted class, and 1 where that is the label.
    """
    hits = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    loss = F.cross_entropy(logits.float(), labels, reduction="sum")
    probabilities = logits.float().softmax(1)
    brier = probabilities.scatter_add(1, labels[:, None], -torch.ones_like(probabilities)).square().sum()
    size = torch.full_like(loss, len(labels))
    sums = torch.stack([size, loss, size - hits[:, 0].sum(), size - hits.sum(), brier]).double()
    return sums, torch.stack([probabilities.amax(1), hits[:, 0].float()])


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
    totals = torch.zeros(5, dtype=torch.float64, device=ranks.device)
    of_images = [torch.empty(2, 0, device=ranks.device)]
    rounds = max(ranks.gather(len(batches)))  # one rank may have a batch more than another
    remaining = wait(batches)
    with torch.inference_mode(), full_precision(), untuned():
        for _ in range(rounds):
            for images, labels in itertools.islice(remaining, 1):
                if channels_last:
                    images = images.contiguous(memory_format=torch.channels_last)
                sums, of_batch = score(model(images), labels)
                totals += sums
                of_images.append(of_batch)
            after_batch()
    model.train(training)
    n, loss, top1, top5, brier = ranks.sum(totals).tolist()
    errors = {"loss": loss / n, "top1_error": 100 * top1 / n, "top5_error": 100 * top5 / n, "brier": brier / n}
    confidences, correct = torch.cat(ranks.gather(torch.cat(of_images, 1).cpu()), 1).double()
    return {"images": int(n), **errors, **calibration_errors(confidences, correct)}
