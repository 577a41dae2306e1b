"""Two networks are compared on the images on which they differ."""

import math

import numpy as np
import pytest

from search.pairing import difference, packed


def apart(won: int, lost: int, *, rows: int = 1000) -> tuple[str, str]:
    """Return two networks, of which one has `won` more and `lost` other images right."""
    mine, theirs = np.ones((2, rows), dtype=bool)
    theirs[:won] = False
    mine[won : won + lost] = False
    return packed(mine), packed(theirs)


@pytest.mark.parametrize("rows", [997, 1000])
def test_the_difference_and_its_error_are_those_of_paired_images(rows: int) -> None:
    found = difference(*apart(60, 50, rows=rows))
    scores = np.r_[np.ones(60), -np.ones(50), np.zeros(rows - 110)]
    assert found.share == pytest.approx(scores.mean())
    assert found.error == pytest.approx(scores.std() / math.sqrt(rows))


@pytest.mark.parametrize(
    ("won", "lost", "tied", "leads"),
    [
        (0, 0, True, False),
        (60, 50, True, False),
        (61, 50, True, True),
        (50, 61, True, False),
        (80, 50, False, True),
        (50, 80, False, False),
        (1000, 0, False, True),
    ],
)
def test_ties_and_leads(won: int, lost: int, tied: bool, leads: bool) -> None:
    found = difference(*apart(won, lost))
    assert (found.tied, found.leads(errors=1.0)) == (tied, leads)


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="the same images, but got 8 and 9"):
        difference(packed(np.ones(8, dtype=bool)), packed(np.ones(9, dtype=bool)))
