"""The laws of what is drawn. Each states n, the bound and how often chance alone would break it."""

from itertools import combinations

import torch
from torch import Tensor

from smoothmix.check.bounds import agreement_interval, binomial_interval, largest_rate, mean_interval
from smoothmix.check.subject import (
    Broken,
    Operation,
    Refused,
    Subject,
    are_equal,
    call,
    one_hot_channels,
    random_images,
    seed_everything,
)

ALPHA = 1e-6  # how often a law is broken by chance, at most
IDLE = 0.3  # at p = 1 at most this part of the draws may change nothing, as a box without pixels does


def seeded(subject: Subject) -> str:
    """Draw sequences of batches from equal and from other seeds."""
    images, labels = random_images(6, 8, 8), torch.arange(6)

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
    """Count how often one image of a batch, each in turn, and its target stay as they are."""
    n, found = 500, []
    images = random_images(8, 8, 8)

    def untouched(p: float, per_sample: bool, n: int) -> int:
        operation = subject.build(0, num_classes=8, p=p, per_sample=per_sample)
        changed = [changes(operation, images, f"p={p}, per_sample={per_sample}") for _ in range(n)]
        return n - sum(bool(batch[draw % 8]) for draw, batch in enumerate(changed))

    alpha = ALPHA / (3 * len(subject.modes()))
    for per_sample in subject.modes():
        kept = untouched(0.0, per_sample, 50)
        if kept < 50:
            raise Broken(f"p=0, per_sample={per_sample}: {50 - kept} of 50 draws change an image or its target")
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
    n, draws, least = 12, 500, 0.05
    images = one_hot_channels(n, 8, 8)
    rare = f"with a chance of {least} or more is missed with a probability of {n * (n - 1) * (1 - least) ** draws:.0e}"
    for per_sample in subject.modes():
        operation = subject.build(0, num_classes=n, per_sample=per_sample)
        met = torch.eye(n, dtype=torch.bool)
        for _ in range(draws):
            met |= call(operation, images, torch.arange(n), f"per_sample={per_sample}")[0].amax(dim=(2, 3)) > 0
            if met.all():
                break
        else:
            row = int((~met).any(dim=1).float().argmax())
            partners = [j for j in range(n) if met[row, j] and j != row]
            raise Broken(
                f"in {draws} batches of {n} (per_sample={per_sample}) image {row} met only {partners or 'none'} of the "
                f"others; a pair {rare}"
            )
    return f"all pairs in at most {draws} batches of {n} (one {rare})"


def positions(subject: Subject) -> str:
    """See whether every pixel is now in the part of an image that holds more of it, now in the other."""
    draws, least, found = 1_200, 0.02, []
    sizes = ((8, 16), (16, 8), (32, 32))
    missed = sum(2 * height * width for height, width in sizes) * len(subject.modes()) * (1 - least) ** draws
    for (height, width), per_sample in ((size, mode) for size in sizes for mode in subject.modes()):
        operation = subject.build(0, num_classes=4, per_sample=per_sample)
        try:
            reached = _reached(operation, one_hot_channels(4, height, width), draws)
        except Refused:  # any_batch shows it
            continue
        if not reached.all():
            part, y, x = (int(i) for i in (~reached).nonzero()[0])
            raise Broken(
                f"in {draws} draws (per_sample={per_sample}) {int((~reached[part]).sum())} of {height} x {width} "
                f"pixels, such as (y={y}, x={x}), are never in the part that holds {('more', 'less')[part]} of the "
                f"image itself; a pixel with a chance of {least} or more is missed with a probability of {missed:.0e}"
            )
        found.append(f"{height} x {width}")
    return (
        f"all pixels of {', '.join(dict.fromkeys(found))}, unless an image has one share (one with a chance of {least} "
        f"is missed with {missed:.0e})"
    )


def _reached(operation: Operation, images: Tensor, draws: int) -> Tensor:
    """Return which pixels ever hold more of the image itself, and which ever less, (2, H, W)."""
    reached = torch.zeros(2, *images.shape[-2:], dtype=torch.bool)
    for draw in range(draws):
        maps = own_maps(operation, images)
        low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
        more, less, varies = maps > (low + high) / 2, maps <= (low + high) / 2, high - low > 1e-6
        reached |= torch.stack([(more & varies).any(dim=0), (less & varies).any(dim=0)])
        if reached.all():
            break
        if draw == 100 and not reached.any():  # one share for all pixels: no position to choose
            return ~reached
    return reached


def independent(subject: Subject) -> str:
    """Look at the amount of what an image takes from elsewhere, and at the height and side where it lies."""
    n, side, draws = 10, 16, 600
    images = one_hot_channels(n, side, side)
    operation = subject.build(0, num_classes=n, per_sample=True)
    rest = 1 - torch.stack([own_maps(operation, images) for _ in range(draws)])
    amount = rest.sum(dim=(2, 3))
    mass = amount.clamp_min(1e-6)
    place = torch.arange(side) + 0.5
    features = {
        "the share": amount,
        "the height": (rest.sum(dim=3) * place).sum(dim=2) / mass,
        "the side": (rest.sum(dim=2) * place).sum(dim=2) / mass,
    }
    return _unrelated(features, amount > 1e-6)


def coin(subject: Subject) -> str:
    """Look at which images of a batch are mixed."""
    n, draws = 10, 600
    images = random_images(n, 8, 8)
    operation = subject.build(1, num_classes=n, p=0.5, per_sample=True)
    mixed = torch.stack([changes(operation, images, "p=0.5, per_sample=True") for _ in range(draws)]).float()
    return _unrelated({"the coin": mixed}, torch.ones_like(mixed, dtype=torch.bool))


def _unrelated(features: dict[str, Tensor], valid: Tensor) -> str:
    """Count how often two images of a batch are above the median at once, by each feature of shape (draws, n)."""
    noise = torch.Generator().manual_seed(0)
    tests = [(name, *pair) for name in features for pair in combinations(range(valid.shape[1]), 2)]
    extreme, shown = -1.0, "nothing varies"
    for name, *pair in tests:
        both = features[name][valid[:, pair].all(dim=1)][:, pair]
        if len(both) < 50:  # too few were touched to tell anything
            continue
        # Ties are broken at random, so that exactly half is above whatever the law of the feature.
        above = [_upper_half(column, torch.rand(len(both), generator=noise).argsort()) for column in both.T]
        count = int((above[0] & above[1]).sum())
        low, high = agreement_interval(len(both), ALPHA / len(tests))
        numbers = (
            f"{name} of images {pair[0]} and {pair[1]}: both above their medians in {count} of {len(both)} batches, "
            f"chance allows {low} to {high} (false alarms {ALPHA:.0e})"
        )
        if not low <= count <= high:
            raise Broken(numbers)
        extreme, shown = max((extreme, shown), (abs(count - (low + high) / 2) / (high - low), numbers))
    return f"{len(tests)} tests; the farthest from the middle: {shown}"


def share(subject: Subject) -> str:
    """Compare the mean share of its own pixels in an image that is mixed with the one that the author expects."""
    n, draws, found = 4, 4_000, []
    images = one_hot_channels(n, 32, 32)
    for per_sample in subject.modes():
        operation = subject.build(0, num_classes=n, per_sample=per_sample)
        own = torch.stack([own_maps(operation, images).mean(dim=(1, 2)) for _ in range(draws)])
        mixed = own < 1 - 1e-6  # not those whose partner is the image itself
        own = ((own * mixed).sum(dim=1) / mixed.sum(dim=1))[mixed.any(dim=1)]
        low, high = mean_interval(own.tolist(), ALPHA / len(subject.modes()))
        numbers = f"{low:.3f} to {high:.3f} (per_sample={per_sample}, {draws} batches, false alarms {ALPHA:.0e})"
        if subject.share is None or not low <= subject.share <= high:
            raise Broken(f"it is {numbers}, not {subject.share}")
        found.append(numbers)
    return "; ".join(found)


def changes(operation: Operation, images: Tensor, context: str) -> Tensor:
    """Return which images (n,) or their targets are not what they were, for labels 0 to n - 1."""
    mixed, targets = call(operation, images, torch.arange(len(images)), context)
    return (mixed != images).flatten(1).any(dim=1) | (targets != torch.eye(len(images))).any(dim=1)


def own_maps(operation: Operation, images: Tensor) -> Tensor:
    """Return how much of its own pixels every image holds, (n, H, W), for one-hot channel images."""
    index = torch.arange(len(images))
    return call(operation, images, index)[0][index, index].float()


def _upper_half(values: Tensor, order: Tensor) -> Tensor:
    """Return which values (n,) are in the upper half, n // 2 of them; `order` (n,) decides between equal ones."""
    ranked = order[values[order].argsort(stable=True, descending=True)]
    upper = torch.zeros(len(values), dtype=torch.bool)
    upper[ranked[: len(values) // 2]] = True
    return upper
