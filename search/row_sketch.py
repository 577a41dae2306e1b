"""Which rows two sets have in common, told from a few hashes of each.

Of many hashes the smallest are a random sample, and of two sets' union the same ones are smallest
whoever looks (A. Broder, "On the resemblance and containment of documents", 1997).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

KEPT = 1024  # hashes: of fifty of ten thousand rows five are among them
FEW = 128  # the standard error of a half of the rows is four points
BYTES = 8  # of a hash
LAST = "f" * 2 * BYTES
SAME = 0.5  # of the rows in common, from which two sets count as one


@dataclass(frozen=True, slots=True)
class RowSketch:
    """A set of rows by their content alone, whatever their order.

    Attributes:
        fingerprint: SHA-256 (hex) of all rows.
        count: how many different ones there are.
        smallest: hashes (hex), ascending, of which all of the set that are smaller are here.
    """

    fingerprint: str
    count: int = 0
    smallest: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[bytes]) -> Self:
        """Describe rows by what is equal for equal rows alone."""
        hashes = sorted(hashlib.blake2b(row, digest_size=BYTES).digest() for row in rows)
        digest, each = hashlib.sha256(b"".join(hashes)).hexdigest(), sorted(set(hashes))
        return cls(digest, len(each), tuple(one.hex() for one in each[:KEPT]))

    def shortened(self) -> "RowSketch":
        """Return a description of the same rows by a few hashes, for what is read often."""
        return replace(self, smallest=self.smallest[:FEW])

    def shared_with(self, other: "RowSketch") -> float:
        """Estimate which share of these rows the other set has as well; 0 where none is sampled."""
        if self.fingerprint == other.fingerprint:
            return 1.0
        end = min(self._end, other._end)  # up to here all hashes of both are known
        mine = {each for each in self.smallest if each <= end}
        return len(mine.intersection(other.smallest)) / len(mine) if mine else 0.0

    @property
    def _end(self) -> str:
        return self.smallest[-1] if self.count > len(self.smallest) and self.smallest else LAST

    def is_like(self, other: "RowSketch") -> bool:
        """Whether the other set has half of these rows, or these are half of it."""
        return max(self.shared_with(other), other.shared_with(self)) >= SAME
