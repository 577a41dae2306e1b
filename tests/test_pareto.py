"""Which trials nothing is better than, in accuracy and cost at once."""

from hypothesis import given
from hypothesis import strategies as st

from search.pareto import layers
from search.store.records import pareto_front
from tests.records import record

Points = list[tuple[float, float]]


def by_definition(points: Points) -> list[int]:
    """Peel fronts off, comparing all pairs."""

    def dominates(one: int, other: int) -> bool:
        (score, cost), (their_score, their_cost) = points[one], points[other]
        equal = points[one] == points[other]
        return score >= their_score and cost <= their_cost and (not equal or one < other)

    places, left, layer = [0] * len(points), set(range(len(points))), 0
    while left:
        front = {n for n in left if not any(dominates(other, n) for other in left - {n})}
        for number in front:
            places[number] = layer
        left, layer = left - front, layer + 1
    return places


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25))
def test_fronts_are_those_of_the_definition(points: Points) -> None:
    assert layers(points) == by_definition(points)


def test_the_front_goes_from_the_cheapest_to_the_most_accurate_finished_trial() -> None:
    board = [
        record(0, 0.90, macs=1000),
        record(1, 0.80, macs=100),
        record(2, 0.85, macs=1000),  # less accurate than 0 at the same cost
        record(3, 0.80, macs=100),  # as 1, but later
        record(4, 0.99, "pruned", macs=1),
        record(5, 0.95),  # its cost is unknown
        record(6, 0.85, macs=300),
    ]
    assert [each.number for each in pareto_front(board, "macs")] == [1, 6, 0]
    assert pareto_front([], "macs") == []
    raced = {0: 0.91, 1: 0.95, 6: 0.96}
    assert [each.number for each in pareto_front(board, "macs", raced=raced)] == [1, 6]
