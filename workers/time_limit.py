"""How long data may take until they are ready, where a budget pays for it."""

import time
from dataclasses import dataclass

from spaces.errors import DataError


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """A moment at which data must be ready.

    Attributes:
        until: by `time.monotonic()`.
        budget: seconds of the whole command.
        left: seconds of these that must be left then.
    """

    until: float
    budget: float
    left: float

    @classmethod
    def of(cls, budget: float, *, used: float, left: float) -> "TimeLimit":
        """Return the limit of a budget of which some seconds have been used."""
        return cls(time.monotonic() + budget - used - left, budget, left)

    def check(self, doing: str) -> None:
        """Make sure that it is not that late yet.

        Raises:
            DataError: it is.
        """
        late = time.monotonic() - self.until
        if late > 0.0:
            raise DataError(
                f"{doing} must leave {self.left:.0f} s of a budget of {self.budget:.0f} s, but "
                f"{self.budget - self.left + late:.0f} s are used; `athanor data check` decodes "
                "images beforehand, and keeps them"
            )
