"""What a network says of each image, exactly on any number of ranks, and the errors and calibration of that."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smoothmix.evaluation.calibration import calibration_errors
from smoothmix.utils.data import Batch, Batches
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.numerics import full_precision, untuned


class Predictions(NamedTuple):
    """What a network says of N images, a line of each tensor per image.

    Attributes:
        images: int64 (N,), indices in the whole split, ascending.
        labels: int64 (N,).
        classes: int64 (N, k), the most likely classes, the likeliest first: k is 5, or the number of classes if lower.
        probabilities: float32 (N, k), theirs.
        losses: float32 (N,), negative log-likelihoods in nats.
        briers: float32 (N,), squared distances of the probabilities from the one-hot label, 0 to 2.
    """

    images: Tensor
    labels: Tensor
    classes: Tensor
    probabilities: Tensor
    losses: Tensor
    briers: Tensor

    @property
    def correct(self) -> Tensor:
        """Whether the likeliest class is the label: bool (N,)."""
        return self.classes[:, 0] == self.labels


def batch_size(device: torch.device) -> int:
    """Return how many images to evaluate at once: on a CPU so few that their activations stay in its cache."""
    return 500 if device.type == "cuda" else 50


@torch.no_grad()
def score(logits: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """Return :class:`Predictions` but for `images`, of a batch of logits (N, K) with labels (N,), on their device."""
    classes = logits.topk(min(5, logits.shape[1]), dim=1).indices
    probabilities = logits.float().softmax(1)
    losses = F.cross_entropy(logits.float(), labels, reduction="none")
    briers = probabilities.scatter_add(1, labels[:, None], -torch.ones_like(probabilities)).square().sum(1)
    return labels, classes, probabilities.gather(1, classes), losses, briers


def predict(
    model: nn.Module,
    batches: Batches,
    ranks: Ranks,
    wait: Callable[[Batches], Iterator[Batch]] = iter,
    after_batch: Callable[[], None] = lambda: None,
    channels_last: bool = False,
) -> Predictions:
    """Return what `model` says, in float32, of the images of all ranks; on every rank the same, on the CPU.

    `batches` are this rank's, as a data set's `eval_batches` returns them: every image is on one rank only. `wait`
    makes the iterator over them. `after_batch` is called equally often on every rank. The model's training mode is put
    back.
    """
    training = model.training
    model.eval()
    of_batches = []
    rounds = max(ranks.gather(len(batches.pieces)))  # one rank may have a batch more than another
    remaining = wait(batches)
    with torch.inference_mode(), full_precision(), untuned():
        for _ in range(rounds):
            for images, labels in itertools.islice(remaining, 1):
                if channels_last:
                    images = images.contiguous(memory_format=torch.channels_last)
                of_batches.append(score(model(images), labels))
            after_batch()
    model.train(training)
    columns = [torch.cat(column).cpu() for column in zip(*of_batches, strict=True)]
    indices = torch.tensor([*itertools.chain.from_iterable(batches.pieces)], device="cpu")
    of_ranks = [of_rank for of_rank in ranks.gather([indices, *columns]) if len(of_rank) > 1]  # one may have no image
    images, *others = map(torch.cat, zip(*of_ranks, strict=True))
    order = images.argsort()
    return Predictions(images[order], *(column[order] for column in others))


def errors(predictions: Predictions) -> dict[str, float]:
    """Return ``{images, loss, top1_error, top5_error, brier, ece, adaptive_ece}`` of predictions.

    Errors and calibration errors are in percent; `loss` is the mean negative log-likelihood, `brier` the mean Brier
    score, and :func:`calibration_errors` defines the others. With fewer than five classes there are no top-5 errors.
    """
    n, correct = len(predictions.images), predictions.correct
    hits = [correct, (predictions.classes == predictions.labels[:, None]).any(1)]
    top1, top5 = (~torch.stack(hits)).sum(1).tolist()
    loss, brier = torch.stack([predictions.losses, predictions.briers]).double().mean(1).tolist()
    means = {"loss": loss, "top1_error": 100 * top1 / n, "top5_error": 100 * top5 / n, "brier": brier}
    return {"images": n, **means, **calibration_errors(predictions.probabilities[:, 0].double(), correct.double())}


def evaluate(model: nn.Module, batches: Batches, ranks: Ranks, **options: Any) -> dict[str, float]:
    """Return the :func:`errors` of what :func:`predict` returns."""
    return errors(predict(model, batches, ranks, **options))
