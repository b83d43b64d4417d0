"""The laws of what is drawn. Each states n, the bound and how often chance alone would break it."""

import torch
from torch import Tensor

from smoothmix.check.bounds import agreement_interval, binomial_interval, largest_rate
from smoothmix.check.subject import (
    Broken,
    Operation,
    Subject,
    are_equal,
    call,
    one_hot_channels,
    random_batch,
    seed_everything,
)

ALPHA = 1e-6  # how often a law is broken by chance, at most
IDLE = 0.3  # at p = 1 at most this part of the draws may change nothing, as a box without pixels does


def seeded(subject: Subject) -> str:
    """Draw sequences of batches from equal and from other seeds."""
    images, labels = random_batch(6, 8, 8)

    def sequence(seed: int, globally: int) -> list[tuple[Tensor, Tensor]]:
        operation = subject.build(seed, num_classes=6, p=0.5, per_sample=subject.modes()[-1])
        seed_everything(globally)
        return [call(operation, images, labels, f"seed {seed}") for _ in range(8)]

    own = subject.takes("generator")
    source = "the generator" if own else "the global generators"
    first = [sequence(seed, seed) for seed in range(5)]
    for seed, results in enumerate(first):
        if not are_equal(results, sequence(seed, seed + 100 * own)):
            raise Broken(f"8 batches differ from their repetition, with {source} seeded with {seed} both times")
    others = [sequence(seed + 5, seed if own else seed + 5) for seed in range(5)]
    if all(map(are_equal, first, others)):
        raise Broken(f"8 batches are the same whatever seed {source} has")
    return f"5 times 8 batches, by {source}"


def probability(subject: Subject) -> str:
    """Count how often the first image of a batch and its target stay as they are."""
    n, found = 500, []
    images, labels = random_batch(8, 8, 8)
    whole = torch.eye(8)

    def untouched(p: float, per_sample: bool, n: int) -> int:
        operation = subject.build(0, num_classes=8, p=p, per_sample=per_sample)
        count = 0
        for _ in range(n):
            mixed, targets = call(operation, images, labels, f"p={p}, per_sample={per_sample}")
            count += torch.equal(mixed[0], images[0]) and torch.equal(targets[0].float(), whole[0])
        return count

    alpha = ALPHA / (3 * len(subject.modes()))
    for per_sample in subject.modes():
        kept = untouched(0.0, per_sample, 50)
        if kept < 50:
            raise Broken(f"p=0, per_sample={per_sample}: {50 - kept} of 50 draws change the first image or its target")
        idle = untouched(1.0, per_sample, n)
        if idle > binomial_interval(n, IDLE, alpha)[1]:
            raise Broken(f"p=1, per_sample={per_sample}: {idle} of {n} draws change nothing, more than {IDLE:.0%}")
        p = 0.3
        low = binomial_interval(n, 1 - p, alpha)[0]
        high = binomial_interval(n, 1 - p + p * largest_rate(idle, n, alpha), alpha)[1]
        kept = untouched(p, per_sample, n)
        numbers = f"p={p}, per_sample={per_sample}: {kept} of {n} untouched, chance allows {low} to {high}"
        if not low <= kept <= high:
            raise Broken(f"{numbers} (false alarms {ALPHA:.0e})")
        found.append(numbers)
    return "; ".join(found) + f" (false alarms {ALPHA:.0e})"


def pairs(subject: Subject) -> str:
    """See which images ever hold pixels of which others."""
    n, draws, least = 4, 300, 0.08
    images = one_hot_channels(n, 8, 8)
    missed = n * (n - 1) * (1 - least) ** draws
    for per_sample in subject.modes():
        operation = subject.build(0, num_classes=n, per_sample=per_sample)
        met = torch.zeros(n, n, dtype=torch.bool)
        for _ in range(draws):
            mixed, _ = call(operation, images, torch.arange(n), f"per_sample={per_sample}")
            met |= mixed.amax(dim=(2, 3)) > 0
        met.fill_diagonal_(True)
        if not met.all():
            row = int((~met).any(dim=1).float().argmax())
            partners = [j for j in range(n) if met[row, j] and j != row]
            raise Broken(
                f"in {draws} batches of {n} (per_sample={per_sample}) image {row} met only {partners or 'none'} of the "
                f"others; a pair with a chance of {least} or more is missed with a probability of {missed:.0e}"
            )
    return f"all pairs in {draws} batches of {n} (one with a chance of {least} is missed with {missed:.0e})"


def positions(subject: Subject) -> str:
    """See whether every pixel is now in the part of an image that holds more of it, now in the other."""
    height, width, draws, least = 8, 16, 1_000, 0.02
    images = one_hot_channels(4, height, width)
    missed = 2 * height * width * (1 - least) ** draws
    found = 0
    for per_sample in subject.modes():
        maps = _own_maps(subject.build(0, num_classes=4, per_sample=per_sample), images, draws, (0,))[:, 0]
        low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
        varying = (high - low > 1e-6).flatten()
        if not varying.any():
            continue  # one share for all pixels: no position to choose
        upper = (maps > (low + high) / 2)[varying]
        found += 1
        for name, reached in (("more", upper.any(dim=0)), ("less", (~upper).any(dim=0))):
            if not reached.all():
                y, x = (int(i) for i in (~reached).nonzero()[0])
                raise Broken(
                    f"in {draws} draws (per_sample={per_sample}) {int((~reached).sum())} of {height} x {width} pixels, "
                    f"such as (y={y}, x={x}), are never in the part that holds {name} of the image itself; a pixel "
                    f"with a chance of {least} or more is missed with a probability of {missed:.0e}"
                )
    if not found:
        return f"in {draws} draws all pixels of an image have one share"
    return f"all {height} x {width} pixels in {draws} draws (one with a chance of {least} is missed with {missed:.0e})"


def independent(subject: Subject) -> str:
    """Look at the amount of what an image takes from elsewhere, and at the height and side where it lies."""
    n, (height, width), draws = 6, (12, 16), 600
    images = one_hot_channels(n, height, width)
    own = _own_maps(subject.build(0, num_classes=n, per_sample=True), images, draws, tuple(range(n)))
    rest = 1 - own
    amount = rest.sum(dim=(2, 3))
    mass = amount.clamp_min(1e-6)
    y, x = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    features = {
        "the share": amount,
        "the height": (rest.sum(dim=3) * y).sum(dim=2) / mass,
        "the side": (rest.sum(dim=2) * x).sum(dim=2) / mass,
    }
    return _unrelated(features, amount > 1e-6)


def coin(subject: Subject) -> str:
    """Look at which images of a batch are mixed."""
    n, draws = 6, 600
    images = one_hot_channels(n, 8, 8)
    operation = subject.build(1, num_classes=n, p=0.5, per_sample=True)
    results = [call(operation, images, torch.arange(n), "p=0.5, per_sample=True") for _ in range(draws)]
    mixed = torch.stack([_changed(images, *result) for result in results]).float()
    return _unrelated({"the coin": mixed}, torch.ones_like(mixed, dtype=torch.bool))


def _unrelated(features: dict[str, Tensor], valid: Tensor) -> str:
    """Count how often two images of a batch are above the median at once, by each feature of shape (draws, n)."""
    noise = torch.Generator().manual_seed(0)
    tests = [(name, other) for name in features for other in (1, valid.shape[1] - 1)]
    extreme, shown = -1.0, "nothing varies"
    for name, other in tests:
        both = features[name][valid[:, 0] & valid[:, other]]
        if len(both) < 50:  # too few were touched to tell anything
            continue
        # Ties are broken at random, so that exactly half is above whatever the law of the feature.
        above = [_upper_half(both[:, i], torch.rand(len(both), generator=noise).argsort()) for i in (0, other)]
        count = int((above[0] & above[1]).sum())
        low, high = agreement_interval(len(both), ALPHA / len(tests))
        numbers = (
            f"{name} of images 0 and {other}: both above their medians in {count} of {len(both)} batches, chance "
            f"allows {low} to {high} (false alarms {ALPHA:.0e})"
        )
        if not low <= count <= high:
            raise Broken(numbers)
        extreme, shown = max((extreme, shown), (abs(count - (low + high) / 2) / (high - low), numbers))
    return f"{len(tests)} tests; the farthest from the middle: {shown}"


def _changed(images: Tensor, mixed: Tensor, targets: Tensor) -> Tensor:
    """Return which images (n,) or their targets are not what they were, for labels 0 to n - 1."""
    return (mixed != images).flatten(1).any(dim=1) | (targets != torch.eye(len(images))).any(dim=1)


def _own_maps(operation: Operation, images: Tensor, draws: int, rows: tuple[int, ...]) -> Tensor:
    """Return how much of its own pixels the images `rows` hold, (draws, rows, H, W), for one-hot channel images."""
    labels, index = torch.arange(len(images)), torch.tensor(rows)
    return torch.stack([call(operation, images, labels)[0][index, index].float() for _ in range(draws)])


def _upper_half(values: Tensor, order: Tensor) -> Tensor:
    """Return which values (n,) are in the upper half, n // 2 of them; `order` (n,) decides between equal ones."""
    ranked = order[values[order].argsort(stable=True, descending=True)]
    upper = torch.zeros(len(values), dtype=torch.bool)
    upper[ranked[: len(values) // 2]] = True
    return upper
