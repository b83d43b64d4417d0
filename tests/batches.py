"""Batches as a training gets them, and as an evaluation does."""

from itertools import accumulate, pairwise


def epoch_of(batches, epoch=0, start_step=0):
    """Yield the images and labels of an epoch's training batches, from a step on."""
    for inputs in batches.inputs(epoch, start_step):
        yield batches.prepare(*inputs)


class Listed(list):
    """Batches whose images have the indices 0, 1, ..."""

    @property
    def pieces(self):
        ends = accumulate((len(labels) for _, labels in self), initial=0)
        return [range(*ends_of_one) for ends_of_one in pairwise(ends)]
