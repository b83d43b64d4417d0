"""Where images come from. Every data set has the same attributes and methods, and no base class.

=======================  ===============================================================================================
``num_classes``          int
``class_names``          list of str
``image_size``           side of an image in pixels
``fingerprint``          short hash of what identifies the data
``sizes``                images in each split: ``{"train": 50000, "test": 10000}``; "val" too where images are held out
``mean``, ``std``        the normalisation, for channels in [0, 1]
``views``                images that training makes of one: 1, or 3 with AugMix
``train_batches(...)``   ``(batch_size, seed, rank=0, world_size=1, device="cpu")``: ``len``: steps in an epoch;
                         ``epoch(epoch, start_step=0)``: yields augmented batches. It does so in two parts, between
                         which a captured step begins: ``inputs(epoch, start_step=0)`` yields tuples of tensors (n, ...)
                         on the device, and ``prepare(*inputs)`` makes a batch of one there; the host reads nothing
``eval_batches(...)``    ``(split, batch_size, rank=0, world_size=1, device="cpu")``: yields a split's batches, as often
                         as it is iterated
``image_batches(...)``   ``(split, pieces, device="cpu")``: yields a split's images of these indices, uint8, with labels
=======================  ===============================================================================================

A batch is images (n, 3, S, S), float32, normalised, and labels (n,), int64, both on the device. `batch_size` is over
all ranks. No random state is kept anywhere: what happens to an image follows from (seed, epoch, index).

With three views a training batch is images (3n, 3, S, S), n clean ones (cropped and flipped only), then their first and
their second blends, and labels (3n,), the same n three times; `batch_size` and ``sizes`` count clean images.
"""

from datasets.cifar import cifar10, cifar100
from datasets.digits import digits
from datasets.folder import class_folders

__all__ = ["cifar10", "cifar100", "class_folders", "digits"]
