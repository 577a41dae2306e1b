"""The temperature is that of the least log-loss, and is kept only where it helps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from search.calibration import at_temperature, fitted_temperature, helpful_temperature

Rows = tuple[NDArray[np.float32], NDArray[np.int64]]


def rows_at(temperature: float, *, rows: int = 4000, seed: int = 0) -> Rows:
    """Return probabilities that are right at 1 / temperature, and targets drawn from those."""
    generator = np.random.default_rng(seed)
    honest = generator.dirichlet(np.full(4, 0.5), rows)
    targets = np.array([generator.choice(4, p=row) for row in honest])
    return at_temperature(honest, 1.0 / temperature), targets


@pytest.mark.parametrize("temperature", [0.5, 0.8, 1.25, 2.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    probabilities, targets = rows_at(temperature)
    assert fitted_temperature(probabilities, targets) == pytest.approx(temperature, rel=0.06)
    assert helpful_temperature(probabilities, targets, seed=1) != 1.0


def test_where_nothing_is_wrong_nothing_changes() -> None:
    kept = [helpful_temperature(*rows_at(1.0, rows=500, seed=n), seed=n) for n in range(20)]
    assert kept.count(1.0) >= 18
    assert helpful_temperature(*rows_at(0.5, rows=3), seed=0) == 1.0


def test_copies_of_rows_that_are_a_group_make_nothing_surer() -> None:
    kept = {}
    for grouped in (False, True):
        found = []
        for seed in range(20):
            probabilities, targets = rows_at(1.0, rows=100, seed=seed)
            groups = np.repeat(np.arange(100), 25) if grouped else None
            rows = np.repeat(probabilities, 25, axis=0), np.repeat(targets, 25)
            found.append(helpful_temperature(*rows, seed=seed, groups=groups))
        kept[grouped] = found.count(1.0)
    assert kept[False] < 15 and kept[True] >= 18


def test_no_group_is_in_both_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    halves: list[set[float]] = []

    def noted(probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
        halves.append(set(probabilities[:, 0].tolist()))
        return fitted_temperature(probabilities, targets)

    monkeypatch.setattr("search.calibration.fitted_temperature", noted)
    probabilities, targets = rows_at(1.0, rows=30)
    rows = np.repeat(probabilities, 4, axis=0), np.repeat(targets, 4)
    helpful_temperature(*rows, seed=0, groups=np.repeat(np.arange(30), 4))
    assert len(halves[0]) == len(halves[1]) == 15 and not halves[0] & halves[1]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), temperature=st.floats(0.1, 8.0))
def test_no_class_changes_and_sums_stay_one(seed: int, temperature: float) -> None:
    drawn = np.random.default_rng(seed).dirichlet(np.ones(5), 30).astype(np.float32)
    found = at_temperature(drawn, temperature)
    assert np.array_equal(found.argmax(1), drawn.argmax(1))
    assert np.allclose(found.sum(1), 1.0, atol=1e-5)


def test_certain_and_impossible_classes_stay_finite() -> None:
    found = at_temperature(np.eye(3, dtype=np.float32), 0.2)
    assert np.isfinite(found).all() and np.allclose(found, np.eye(3), atol=1e-3)
    assert fitted_temperature(np.eye(3, dtype=np.float32), np.array([1, 2, 0])) > 1.0
