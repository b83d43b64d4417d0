"""Exact top-1 and top-5 errors, on any number of ranks."""

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smoothmix.utils.data import Batch, Batches
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.precision import full_precision


def batch_size(device: torch.device) -> int:
    """Return how many images to evaluate at once: on a CPU so few that their activations stay in its cache."""
    return 500 if device.type == "cuda" else 50


@torch.no_grad()
def count_errors(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (images, summed cross-entropy, top-1 misses, top-5 misses) as float64 (4,) on the device.

    `logits` (N, K), `labels` (N,). With fewer than five classes top-5 never misses.
    """
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = top == labels[:, None]
    loss = F.cross_entropy(logits.float(), labels, reduction="sum")
    size = torch.full_like(loss, len(labels))
    return torch.stack([size, loss, size - hits[:, 0].sum(), size - hits.sum()]).double()


def evaluate(
    model: nn.Module,
    batches: Batches,
    ranks: Ranks,
    wait: Callable[[Batches], Iterator[Batch]] = iter,
    after_batch: Callable[[], None] = lambda: None,
    channels_last: bool = False,
) -> dict[str, float]:
    """Return ``{images, loss, top1_error, top5_error}`` of `model`, errors in percent, computed in float32.

    `batches` are this rank's, as a data set's `eval_batches` returns them: every image is on one rank only, so the
    counts are exact for any number of ranks. `wait` makes the iterator over them. `after_batch` is called equally often
    on every rank. The model's training mode is put back.
    """
    training = model.training
    model.eval()
    totals = torch.zeros(4, dtype=torch.float64, device=ranks.device)
    rounds = max(ranks.gather(len(batches)))  # one rank may have a batch more than another
    remaining = wait(batches)
    with torch.inference_mode(), full_precision():
        for _ in range(rounds):
            for images, labels in itertools.islice(remaining, 1):
                if channels_last:
                    images = images.contiguous(memory_format=torch.channels_last)
                totals += count_errors(model(images), labels)
            after_batch()
    model.train(training)
    images_seen, loss, top1, top5 = ranks.sum(totals).tolist()
    return {
        "images": int(images_seen),
        "loss": loss / images_seen,
        "top1_error": 100 * top1 / images_seen,
        "top5_error": 100 * top5 / images_seen,
    }
