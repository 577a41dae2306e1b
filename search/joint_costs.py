"""What the members of an ensemble take of what it may cost, and what that must be worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

WITHIN = 1.0 + 1e-9  # of a limit that members may take together: sums are rounded


@dataclass(frozen=True, slots=True)
class JointCosts:
    """Limits on a whole ensemble, each member counted once however large its weight.

    Attributes:
        shares: of each limit, what a model takes, by its name; without limits, nothing.
        price: by how much an ensemble that takes all of its tightest limit must be better than
            one that costs nothing, in the metric's unit.
    """

    shares: Mapping[str, Sequence[float]] = field(default_factory=dict)
    price: float = 0.0

    def of(self, name: str) -> Sequence[float]:
        """Return what a model takes of each limit."""
        return self.shares[name] if self.shares else ()

    def allow(self, name: str) -> bool:
        """Return whether a model alone is within all limits."""
        return max(self.of(name), default=0.0) <= WITHIN


def exceed(costs: Mapping[str, float], limits: Mapping[str, float]) -> bool:
    """Return whether costs are beyond some limit, each by its name."""
    return any(costs[name] > WITHIN * limit for name, limit in limits.items())


class Room:
    """What is left of the limits while members are added, and which models still fit.

    Raises:
        ValueError: no model is within the limits.
    """

    def __init__(self, names: Sequence[str], costs: JointCosts) -> None:
        shares = [costs.of(name) for name in names]
        self._shares = np.array(shares, dtype=np.float64).reshape(len(names), -1)
        self._used = np.zeros(self._shares.shape[1])
        self._taken = np.zeros(len(names), dtype=np.bool_)
        self._price = costs.price
        if not self.fits().any():
            raise ValueError(f"a model must be within all limits, but they take {shares} of them")

    def take(self, model: int) -> None:
        """Count a model, unless it is in the ensemble already."""
        if not self._taken[model]:
            self._taken[model] = True
            self._used += self._shares[model]

    def fits(self) -> NDArray[np.bool_]:
        """Return (models,), whether the ensemble with each of them is within all limits."""
        fitting: NDArray[np.bool_] = self._taken | np.all(self._with_each() <= WITHIN, axis=1)
        return fitting

    def prices(self) -> NDArray[np.float64]:
        """Return (models,), what the ensemble with each of them must be worth."""
        prices: NDArray[np.float64] = self._price * self._with_each().max(1, initial=0.0)
        return prices

    def _with_each(self) -> NDArray[np.float64]:
        more: NDArray[np.float64] = np.where(self._taken[:, None], 0.0, self._shares)
        return self._used + more
