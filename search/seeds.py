"""Seeds that follow from one seed."""

import hashlib


def derived_seed(seed: int, *parts: object) -> int:
    """Return a seed below 2**31 that is fixed by `seed` and the parts, unlike for other parts."""
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
