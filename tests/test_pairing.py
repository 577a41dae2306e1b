"""Two networks are compared on the images on which they differ."""

import math

import numpy as np
import pytest

from search.marks import Marks
from search.metrics import METRICS
from search.pairing import difference, paired


def apart(won: int, lost: int, *, rows: int = 1000) -> tuple[Marks, Marks]:
    """Return two networks, of which one has `won` more and `lost` other images right."""
    mine, theirs = np.ones((2, rows), dtype=bool)
    theirs[:won] = False
    mine[won : won + lost] = False
    return Marks(mine), Marks(theirs)


@pytest.mark.parametrize("rows", [997, 1000])
def test_the_difference_and_its_error_are_those_of_paired_images(rows: int) -> None:
    found = difference(*apart(60, 50, rows=rows))
    scores = np.r_[np.ones(60), -np.ones(50), np.zeros(rows - 110)]
    assert found.share == pytest.approx(scores.mean())
    assert found.error == pytest.approx(scores.std() / math.sqrt(rows), rel=0.01)


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
        (1, 0, True, False),
        (3, 0, True, True),
        (4, 0, True, True),
        (6, 0, False, True),
    ],
)
def test_ties_and_leads(won: int, lost: int, tied: bool, leads: bool) -> None:
    found = difference(*apart(won, lost))
    assert (found.tied, found.leads(errors=1.0)) == (tied, leads)


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="the same images, but got 8 and 9"):
        difference(Marks(np.ones(8, dtype=bool)), Marks(np.ones(9, dtype=bool)))


def test_images_of_a_group_say_what_one_of_them_says() -> None:
    """Copies of an image in one group leave the error as it was, but for the groups' number."""
    copies, rows = 8, 1000
    one, other = apart(58, 40, rows=rows)
    groups = np.repeat(np.arange(rows), copies)
    blind = difference(*(Marks(each.right.repeat(copies)) for each in (one, other)))
    found = difference(*(Marks(each.right.repeat(copies), groups) for each in (one, other)))
    assert found.share == blind.share == difference(one, other).share
    assert blind.error < 0.4 * found.error and not blind.tied
    assert found.error == pytest.approx(difference(one, other).error, rel=0.02)
    assert found.tied


def test_another_metric_is_compared_over_groups_as_well() -> None:
    random, copies = np.random.default_rng(0), 16
    targets = random.integers(0, 3, 60)
    logits = random.normal(size=(2, 60, 3)) + np.eye(3)[targets]
    said = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    groups = np.repeat(np.arange(60), copies)
    many = [each.repeat(copies, axis=0).astype(np.float32) for each in said]
    blind, found = (
        paired(METRICS["log_loss"], targets.repeat(copies), *many, seed=0, groups=each)
        for each in (None, groups)
    )
    assert found.share == blind.share
    assert 3.0 < found.error / blind.error < 5.0  # the root of 16
