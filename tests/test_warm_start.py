"""What an earlier search found is tried again, as far as it fits; what does not is said."""

from typing import Any

import pytest

from search.warm_start import fitted
from spaces.cnn import CnnSpace
from spaces.points import parameters_of

SPACE = parameters_of(CnnSpace(width=(8, 16), hidden=(0,)))


def test_what_fits_is_kept_and_what_does_not_is_said() -> None:
    earlier: list[dict[str, Any]] = [
        {"width": 16, "depth_1": 2, "dropout": 0.25},
        {"width": 64, "depth_1": 9, "dropout": 0.75, "hidden": 64},
        {"width": 64},
    ]
    found = fitted(earlier, SPACE)
    assert found.trials == ({"width": 16, "depth_1": 2, "dropout": 0.25},)
    assert set(found.dropped) == {
        "width=64 is no choice here (2 of 3)",
        "depth_1=9 is no choice here (1 of 3)",
        "dropout=0.75 is not within 0 to 0.5 (1 of 3)",
        "hidden is no parameter here (1 of 3)",
    }


def test_trials_that_are_equal_in_what_is_left_are_one() -> None:
    found = fitted([{"width": 8, "hidden": 0}, {"width": 8, "hidden": 64}], SPACE)
    assert found.trials == ({"width": 8},)


@pytest.mark.parametrize("value", ["0.1", None, True, float("nan"), [0.1]])
def test_a_value_of_another_kind_does_not_fit(value: Any) -> None:
    assert fitted([{"dropout": value}], SPACE).trials == ()
    assert fitted([{"width": value}], SPACE).trials == ()
