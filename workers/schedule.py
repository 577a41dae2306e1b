"""Where a training is between its first and its last step, and what that means for the next one."""

import math

from spaces.recipe import Recipe
from workers.optimization import learning_rate_factor

MIN_PACE_STEPS = 16  # steps before a measured pace is believed,
MIN_PACE_SECONDS = 5.0  # or the time, where steps are slow: building kernels takes less
TINY = 1e-9  # seconds
RESERVED_SHARE = 0.02  # of the time left, kept for steps that turn out slower than the last ones
WHOLE_FROM = 0.875  # share of all steps after which passes leave no row out (2303.04947)


class Schedule:
    """Counts the steps of a training; its end may be moved while it goes on.

    Attributes:
        step: how many are done.
        total_steps: after which the training ends.
    """

    def __init__(self, recipe: Recipe, *, steps_per_epoch: int) -> None:
        self._recipe = recipe
        self._planned = recipe.epochs * steps_per_epoch
        self.step, self.total_steps = 0, self._planned

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.total_steps

    def keep_length(self) -> None:
        """Never again move the end beyond where it is now."""
        self._planned = self.total_steps

    @property
    def leaves_no_row_out(self) -> bool:
        """Whether a pass that begins now is one of the last, which see all rows."""
        return self.step / self.total_steps >= WHOLE_FROM

    def augments(self) -> bool:
        """Whether the next images are altered as the recipe says; the last ones are less so."""
        return self.step / self.total_steps < self._recipe.augment_until

    def rate_factor(self) -> float:
        """Return the factor on the recipe's learning rate for the next step."""
        progress = (self.step + 0.5) / self.total_steps
        return learning_rate_factor(self._recipe.schedule, progress)

    def fit_to(self, seconds_left: float, *, steps: float, seconds: float) -> None:
        """Move the last step to where the time ends, at most to where it was planned.

        The pace is that of the whole training, so one slow step cuts little, and what it
        cuts is given back.

        Args:
            steps, seconds: that the training has taken so far.
        """
        unknown = seconds <= 0.0 or (steps < MIN_PACE_STEPS and seconds < MIN_PACE_SECONDS)
        if unknown and seconds_left > 0.0:
            return
        pace = steps / max(seconds, TINY)
        affordable = math.floor(seconds_left * (1.0 - RESERVED_SHARE) * pace)
        self.total_steps = min(self._planned, self.step + max(0, affordable))
