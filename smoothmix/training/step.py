"""What a train step is made of, beside the network: the loss, and the pace of the host."""

from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CONSISTENCY_WEIGHT = 12.0  # AugMix, appendix and code
AHEAD = 2  # steps that the host may queue before the device has done them


def classification_loss(logits: Tensor, targets: Tensor, views: int = 1) -> Tensor:
    """Return the mean cross-entropy and, with three views of each image, AugMix's consistency loss beside it.

    Args:
        logits: (views * n, K), of any floating dtype; all first views, all second, all third.
        targets: (views * n, K) class probabilities, in the same order.
        views: 1 or 3. With 3 the cross-entropy is that of the first n images, the clean ones, and twelve times
            :func:`jensen_shannon` of the three is added.

    Returns:
        float32, a number.
    """
    logits = logits.float()
    if views == 1:
        return F.cross_entropy(logits, targets)
    first, second, third = logits.chunk(views)
    return F.cross_entropy(first, targets[: len(first)]) + CONSISTENCY_WEIGHT * jensen_shannon(first, second, third)


def jensen_shannon(*logits: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of predictions for the same images, in nats, a mean over the batch.

    That is the mean over the views of KL(p || m), m being the mean of their probabilities p, and not below 1e-7 (the
    authors' clamp). Computed from log-probabilities: where a probability underflows to 0, log p would have no gradient.

    Args:
        logits: (n, K) for each view, float32.
    """
    log_p = torch.stack(logits).log_softmax(dim=2)
    p = log_p.exp()
    log_m = p.mean(dim=0).clamp(1e-7, 1).log()
    return (p * (log_p - log_m)).sum(dim=2).mean()


class Pace:
    """Keeps the host at most `AHEAD` steps ahead of a GPU, so that queued batches do not fill its memory."""

    def __init__(self, device: torch.device, event: Callable[[], Any] = torch.cuda.Event) -> None:
        self.device, self.event = device, event
        self.events: deque[Any] = deque()

    def __call__(self) -> None:
        """Mark the end of a step, and wait for the one `AHEAD` steps before."""
        if self.device.type != "cuda":
            return
        event = self.event()
        event.record()
        self.events.append(event)
        if len(self.events) > AHEAD:
            self.events.popleft().synchronize()
