"""Independent random streams from one run seed."""

import hashlib


def derive_seed(*keys: int | str) -> int:
    """Return a seed in [0, 2**63) that is a fixed function of `keys`.

    Streams are named by what they are for, as in ``derive_seed(seed, "order", epoch)``. Different keys give unrelated
    seeds on every machine (BLAKE2b), so nothing has to be stored to draw the same numbers again.
    """
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
