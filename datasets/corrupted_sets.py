"""The corrupted test sets: what they are called and made of, which one a data set has, where they are published."""

from dataclasses import dataclass

from datasets.download import Archive
from smoothmix.corruptions import SEVERITIES, SIDES, constants_for
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


# ---- the archives of Hendrycks and Dietterich, ICLR 2019, on Zenodo

IMAGENET_C = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
}
MD5 = {
    "noise": "e80562d7f6c3f8834afb1ecf27252745",  # about 21 GB
    "blur": "2d8e81fdd8e07fef67b9334fa635e45c",  # about 7 GB
    "weather": "33ffea4db4d93fe4a428c40a6ce0c25d",  # about 12 GB
    "digital": "89157860d7b10d5797849337ca2e5c03",  # about 7 GB
    "extra": "d492dfba5fc162d8ec2c3cd8ee672984",  # about 15 GB
}


def _url(record: int, file: str) -> str:
    return f"https://zenodo.org/records/{record}/files/{file}?download=1"


def _cifar_c(record: int, folder: str, md5: str) -> Archive:
    names = ["labels", *(name for names in IMAGENET_C.values() for name in names)]
    return Archive(_url(record, f"{folder}.tar"), md5, tuple(f"{folder}/{name}.npy" for name in names))


def _imagenet_c(part: str) -> Archive:
    places = tuple(f"{name}/{severity}" for name in IMAGENET_C[part] for severity in SEVERITIES)
    return Archive(_url(2235448, f"{part}.tar"), MD5[part], places)


# Each data set's archives by the name of the part; 2.9 GB each for CIFAR. Those of ImageNet-C hold the corruptions at
# their top, so they are unpacked in the folder ImageNet-C, the others beside it.
ARCHIVES: dict[str, dict[str, Archive]] = {
    "cifar10_c": {"all": _cifar_c(2535967, "CIFAR-10-C", "56bf5dcef84df0e2308c6dcbcbbd8499")},
    "cifar100_c": {"all": _cifar_c(3555552, "CIFAR-100-C", "11f0ed0f1191edbf9fa23466ae6021d3")},
    "imagenet_c": {part: _imagenet_c(part) for part in IMAGENET_C},
}
