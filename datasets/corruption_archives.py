"""Where CIFAR-10-C, CIFAR-100-C and ImageNet-C are published: Hendrycks and Dietterich, ICLR 2019, on Zenodo."""

from datasets.download import Archive
from smoothmix.corruptions import SEVERITIES

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
