"""Operations in the form that `check_mixing` takes: this package's ten strategies, and those of other libraries.

Each adapter has the arguments that its operation has, and says which laws are not its contract. The libraries are
imported when an adapter is called, so that none is needed for the others.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

import smoothmix
from smoothmix.check.subject import Operation

Make = Callable[..., Operation]


def declare(**not_applicable: str) -> Callable[[Make], Make]:
    """Return a decorator that gives `make` its reasons, law by law, for what it is not meant to obey."""

    def decorate(make: Make) -> Make:
        made = partial(make)
        made.not_applicable = not_applicable  # type: ignore[attr-defined]
        return made

    return decorate


NO_PARTNER = "images have no partner"
ALONE = "draws nothing and changes nothing"


def _manifold_mixup(
    *,
    num_classes: int,
    p: float = 1.0,
    per_sample: bool = False,
    alpha: float = 1.0,
    generator: torch.Generator | None = None,
) -> Operation:
    """Build Manifold Mixup with a network of two identities, so that its hidden layers are images."""
    strategy = smoothmix.ManifoldMixup(
        num_classes=num_classes, p=p, per_sample=per_sample, alpha=alpha, stages=("0", "1"), generator=generator
    )
    network = nn.Sequential(nn.Identity(), nn.Identity())
    strategy.attach(network)

    def mix(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        images, targets = strategy(images, labels)
        return network(images), targets

    def seeded(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        # The layer comes from the default CPU generator, which the caller's one seeds here.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            return mix(images, labels)

    return mix if generator is None else seeded


_NOT_APPLICABLE: dict[str, dict[str, str]] = {
    "CenterGaussian": {"positions": "the centre is meant to lie near the middle"},
    "Cutout": {"pairs": NO_PARTNER},
    "HideAndSeek": {"pairs": NO_PARTNER},
    "Identity": {
        "seed": ALONE,
        "p": ALONE,
        "coin": ALONE,
        "pairs": NO_PARTNER,
        "arguments": "p, per_sample and generator have nothing to act on",
    },
    "LabelSmoothing": {
        "label_weight": "labels are smoothed, images stay",
        "rounding": "images stay",
        "pairs": NO_PARTNER,
    },
    "ManifoldMixup": {"export": "the layer is drawn on the host, and a graph holds one"},
}
# Holes of the default size would cover the small images of the checks.
_MAKES: dict[str, Make] = {"Cutout": partial(smoothmix.Cutout, size=4), "ManifoldMixup": _manifold_mixup}

OURS: dict[str, Make] = {
    name: declare(**_NOT_APPLICABLE.get(name, {}))(_MAKES.get(name, getattr(smoothmix, name)))
    for name in sorted(smoothmix.__all__)
    if name[0].isupper()
}
