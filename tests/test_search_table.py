"""Simulated searches keep to the clock, and find what the table holds."""

import json
import math
import random
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from benchmarks import search_table
from benchmarks.factorial import (
    AXES,
    EPOCHS,
    PRIOR,
    RUNG,
    Cell,
    Record,
    candidate_of,
    cell_of,
    cells,
    load,
    save,
    values_of,
)
from benchmarks.simulation import CONTENDERS, SAMPLERS_ALONE, Outcome, simulate
from spaces.recipe import Candidate

SECONDS = 8.0  # of every training


@pytest.fixture(scope="module", autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="module")
def table() -> dict[Cell, Record]:
    """Return a table whose scores are sums of what each axis gives; it has one best cell."""
    generator = random.Random(1)
    worth = {axis: [generator.gauss(0.0, 0.01) for _ in choices] for axis, choices in AXES.items()}
    found = {}
    for cell in cells():
        final = 0.8 + sum(w[place] for w, place in zip(worth.values(), cell, strict=True))
        scores = [final - 0.1 * (1.0 - epoch / EPOCHS) for epoch in range(1, EPOCHS + 1)]
        seconds = tuple(SECONDS * epoch / EPOCHS for epoch in range(1, EPOCHS + 1))
        found[cell] = Record(cell, 0, tuple(scores), scores[RUNG - 1], seconds, 0.5)
    return found


def test_a_cell_is_a_candidate_of_its_own() -> None:
    assert len(cells()) >= 300
    candidates = {candidate_of(cell) for cell in cells()}
    assert len(candidates) == len(cells())
    assert all(cell_of(values_of(cell)) == cell for cell in cells())
    prior = candidate_of(cell_of(PRIOR))
    assert isinstance(prior, Candidate) and prior.recipe.epochs == EPOCHS


def test_a_table_comes_back_from_its_file(tmp_path: Path, table: dict[Cell, Record]) -> None:
    path = tmp_path / "table.json"
    assert load(path) == []
    save(reversed(table.values()), path)
    assert load(path) == list(table.values())
    assert path.read_text().count("\n") == len(table) + 2
    path.write_text(path.read_text().replace('"relu"', '"gelu"'))
    with pytest.raises(ValueError, match="the axes of"):
        load(path)


@pytest.mark.parametrize("name", [*CONTENDERS, *SAMPLERS_ALONE])
def test_a_search_improves_and_keeps_to_the_clock(name: str, table: dict[Cell, Record]) -> None:
    contender = {**CONTENDERS, **SAMPLERS_ALONE}[name]
    budget = 12 * SECONDS
    first, again = (simulate(contender, table, seed=3, seconds=budget) for _ in range(2))
    assert first.trace == again.trace
    times, scores = zip(*first.trace, strict=True)
    assert list(times) == sorted(times) and times[-1] <= budget
    assert list(scores) == sorted(set(scores))
    assert times[0] >= SECONDS
    assert first.best_at(times[0] - 0.01) == 0.0 and first.best_at(budget) == scores[-1]
    assert first.seconds_to(scores[-1]) == times[-1] and first.seconds_to(1.0) == math.inf


def test_ours_begins_with_the_prior_and_discards(table: dict[Cell, Record]) -> None:
    outcome = simulate(CONTENDERS["auto"], table, seed=0, seconds=SECONDS + 0.5)
    assert outcome.trace == [(SECONDS + 0.5, table[cell_of(PRIOR)].final)]
    best = max(record.final for record in table.values())
    reached = [
        simulate(CONTENDERS["auto"], table, seed=seed, seconds=120 * SECONDS).seconds_to(best)
        for seed in range(3)
    ]
    assert max(reached) < 120 * SECONDS  # of 384


def test_workers_share_the_clock(table: dict[Cell, Record]) -> None:
    alone, eight = (
        simulate(CONTENDERS["random"], table, seed=0, seconds=2 * SECONDS, workers=workers)
        for workers in (1, 8)
    )
    assert alone.batch == 1.0 and 0.5 < eight.batch <= 1.0
    assert eight.best_at(SECONDS) >= alone.best_at(SECONDS) > 0.0


def test_verdicts_need_more_than_noise() -> None:
    import numpy as np

    clear = np.full((20, 1), 0.01)
    assert search_table.verdict(clear, noise=0.002) == "worse"
    assert search_table.verdict(-clear, noise=None) == "better"
    assert search_table.verdict(clear, noise=0.02) == "worse, within noise"
    assert search_table.verdict(np.array([[0.1], [-0.1], [0.1], [-0.1]]), noise=None) == "tie"


def test_ratios_compare_with_what_random_search_found(table: dict[Cell, Record]) -> None:
    field = search_table.Field(table=table, noise=None)
    whole = 50 * SECONDS
    mine = [Outcome(trace=[(0.1 * whole, 0.9)]), Outcome(trace=[(0.2 * whole, 0.7)])]
    theirs = [Outcome(trace=[(0.9 * whole, 0.85)]), Outcome(trace=[(0.5 * whole, 0.8)])]
    assert search_table.ratios(field, mine, theirs) == [pytest.approx(0.1), math.inf]
    within = search_table.ratios(field, mine, theirs, less=0.101)
    assert within == [pytest.approx(0.1), pytest.approx(0.2)]


def test_without_a_table_the_figures_are_null(tmp_path: Path) -> None:
    script = Path(search_table.__file__)
    done = subprocess.run(
        [sys.executable, str(script), "--quick", "--table", str(tmp_path / "none.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "--prepare" in done.stderr
    assert set(json.loads(done.stdout.splitlines()[-1]).values()) == {None}
