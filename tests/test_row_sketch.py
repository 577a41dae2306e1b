"""Which rows two sets have in common is told from a few hashes of each."""

from itertools import pairwise

import pytest

from search.row_sketch import FEW, KEPT, RowSketch


def rows(first: int, count: int) -> RowSketch:
    return RowSketch.of(str(number).encode() for number in range(first, first + count))


def test_the_order_of_rows_is_nothing_and_a_row_is_something() -> None:
    numbers = [str(number).encode() for number in range(3000)]
    one, other = RowSketch.of(numbers), RowSketch.of(reversed(numbers))
    assert one == other and one.count == 3000 and len(one.smallest) == KEPT
    assert all(a < b for a, b in pairwise(one.smallest))
    assert RowSketch.of(numbers[1:]).fingerprint != one.fingerprint


@pytest.mark.parametrize(
    ("first", "count", "share"),
    [(0, 5000, 1.0), (2500, 5000, 0.5), (4500, 5000, 0.1), (9000, 9, 0)],
)
def test_the_share_of_common_rows_is_estimated(first: int, count: int, share: float) -> None:
    found = rows(0, 5000).shared_with(rows(first, count))
    assert found == pytest.approx(share, abs=0.13 if 0.0 < share < 1.0 else 0.0)


@pytest.mark.parametrize("first", range(0, 9950, 995))
def test_fifty_of_ten_thousand_rows_are_known_for_a_part(first: int) -> None:
    whole, part = rows(0, 10_000), rows(first, 50)
    assert whole.is_like(part) and part.is_like(whole)
    assert not whole.is_like(rows(10_000 + first, 50))


def test_a_shortened_description_is_of_the_same_rows() -> None:
    whole = rows(0, 5000)
    few = whole.shortened()
    assert len(few.smallest) == FEW and few.fingerprint == whole.fingerprint
    assert few.is_like(whole) and few.is_like(rows(0, 4000)) and whole.is_like(few)
    assert not few.is_like(rows(5000, 5000)) and not few.is_like(rows(4000, 5000))


def test_a_part_of_a_set_is_like_it_and_few_rows_are_known_exactly() -> None:
    whole, part = rows(0, 4000), rows(0, 1000)
    assert part.shared_with(whole) == 1.0 and whole.shared_with(part) == pytest.approx(
        0.25, abs=0.1
    )
    assert whole.is_like(part) and part.is_like(whole) and not whole.is_like(rows(4000, 4000))
    assert rows(0, 10).shared_with(rows(5, 10)) == 0.5 and rows(0, 10).is_like(rows(5, 10))
    assert not rows(0, 10).is_like(rows(6, 10))


def test_of_a_fingerprint_alone_no_more_is_known_than_whether_it_is_the_same() -> None:
    assert RowSketch("t").is_like(RowSketch("t")) and not RowSketch("t").is_like(rows(0, 10))
