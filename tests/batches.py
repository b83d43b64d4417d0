"""Batches as a training gets them."""


def epoch_of(batches, epoch=0, start_step=0):
    """Yield the images and labels of an epoch's training batches, from a step on."""
    for inputs in batches.inputs(epoch, start_step):
        yield batches.prepare(*inputs)
