"""The corrupted test sets: what they are called, what they are made of, and which one a data set has."""

from dataclasses import dataclass

from smoothmix.corruptions import SIDES, constants_for
from smoothmix.utils.errors import UserError, nearest

GENERATED = "generated.json"  # in a folder whose images were made here


@dataclass(frozen=True)
class CorruptedSet:
    """A corrupted test set.

    Args:
        name: as commands call it.
        title: as tables call it.
        folder: its folder in the root of the data.
        constants: whose settings its corruptions have: "cifar" or "imagenet".
        dataset: the data set whose test images are corrupted.
    """

    name: str
    title: str
    folder: str
    constants: str
    dataset: str

    @property
    def has_alexnet(self) -> bool:
        """Whether AlexNet's errors on it, and with them mCE and relative mCE, are defined."""
        return self.name == "imagenet_c"


CORRUPTED = {
    entry.name: entry
    for entry in (
        CorruptedSet("cifar10_c", "CIFAR-10-C", "CIFAR-10-C", "cifar", "cifar10"),
        CorruptedSet("cifar100_c", "CIFAR-100-C", "CIFAR-100-C", "cifar", "cifar100"),
        CorruptedSet("imagenet_c", "ImageNet-C", "ImageNet-C", "imagenet", "imagenet"),
        CorruptedSet("digits_c", "DIGITS-C", "DIGITS-C", "cifar", "digits"),
    )
}


def find_set(name: str) -> CorruptedSet:
    """Return the corrupted test set that commands call `name`.

    Raises:
        UserError: there is none.
    """
    if name not in CORRUPTED:
        raise UserError(f"there is no benchmark {name}; {nearest(name, CORRUPTED)}")
    return CORRUPTED[name]


def set_for(name: str | None, dataset: str, image_size: int, source: str) -> CorruptedSet:
    """Return the corrupted test set `name`, or without a name the one of `dataset` at this image size.

    A data set of which none is published gets one of its own, whose images have to be generated.

    Raises:
        UserError: the benchmark is made of other images.
    """
    of_dataset = [entry for entry in CORRUPTED.values() if entry.dataset == dataset]
    same_size = [entry for entry in of_dataset if SIDES[entry.constants] == image_size]
    if name is None:
        own = f"{dataset}{image_size}"
        made = CorruptedSet(
            f"{own}_c", f"{dataset} of {image_size} pixels, corrupted", own, constants_for(image_size), dataset
        )
        return next(iter(same_size), made)
    chosen = find_set(name)
    if chosen not in of_dataset:
        raise UserError(
            f"{name} is made of {chosen.dataset}, not of {dataset}: choose its own benchmark, or leave it out"
        )
    if source == "generate" and chosen not in same_size:
        side = SIDES[chosen.constants]
        raise UserError(f"{chosen.title} has images of {side} pixels, not {image_size}: leave out benchmark={name}")
    return chosen
