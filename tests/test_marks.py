"""Which images a network has right is kept as text, their groups with it."""

import numpy as np
import pytest

from search.marks import Marks
from search.predictions import share_interval


@pytest.mark.parametrize("rows", [1, 8, 1003])
def test_what_was_written_is_read(rows: int) -> None:
    right = np.random.default_rng(0).random(rows) < 0.5
    found = Marks.read(Marks(right).text)
    assert np.array_equal(found.right, right) and found.groups is None


def test_groups_are_read_as_groups_whatever_their_numbers_were() -> None:
    random = np.random.default_rng(1)
    right, groups = random.random(500) < 0.5, random.choice([7, -3, 900_000_000_000, 12], 500)
    read = Marks.read(Marks(right, groups).text)
    assert np.array_equal(read.right, right) and read.groups is not None
    assert np.array_equal(read.groups[:, None] == read.groups, groups[:, None] == groups)


def test_a_few_equal_images_take_little_more_room() -> None:
    right, groups = np.ones(4000, dtype=bool), np.arange(4000)
    groups[[50, 1800, 3999]] = [4, 900, 17]
    assert len(Marks(right, groups).text) < len(Marks(right).text) + 200


def test_the_interval_is_as_wide_as_the_groups_let_it_be() -> None:
    right = np.arange(100) < 90
    assert Marks(right).interval == pytest.approx(share_interval(0.9, rows=100))
    many = Marks(right.repeat(5), np.repeat(np.arange(100), 5))
    assert many.interval == pytest.approx(Marks(right).interval, abs=2e-3)
    assert many.share == 0.9
