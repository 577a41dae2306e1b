"""Trials are ranked, tied and freed of luck by whatever metric counts."""

from pathlib import Path

import numpy as np
import pytest

from athanor.leaderboard import Leaderboard
from athanor.progress import Progress
from search.draws import Draws
from search.metrics import METRICS
from search.optimism import score_of_a_choice
from search.store import StudyStore
from tests.small_job import worked


@pytest.mark.parametrize("metric", ["log_loss", "balanced_accuracy"])
def test_trials_are_compared_by_another_metric_as_well(tmp_path: Path, metric: str) -> None:
    job, _ = worked(tmp_path, trials=3, metric=metric, discard_after=0)
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db")
    board = Leaderboard.read(store, Progress.read(store, job.id))
    first, *others = board.trials
    assert board.behind(first) is None and len(others) == 2
    for record in others:
        found = board.behind(record)
        assert found is not None and first.score is not None and record.score is not None
        assert found.share == pytest.approx(record.score - first.score)
        assert record.error is not None and 0.0 < found.error < 3.0 * record.error
    assert board.corrected is not None and first.score is not None
    assert board.corrected < first.score + 0.01
    assert first in board.tied
    store.close()


def test_draws_are_written_as_json_and_read_again() -> None:
    drawn = Draws(0.5, np.array([0.25, np.nan, 0.123456789]))
    again = Draws.read(0.5, drawn.written)
    assert drawn.written[1] is None
    assert np.allclose(again.scores, drawn.scores, rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize("trials", [2, 12])
def test_the_best_of_equal_trials_is_as_good_as_they_are(trials: int) -> None:
    random = np.random.default_rng(trials)
    metric = METRICS["macro_f1"]
    told, best = [], []
    for seed in range(20):
        targets = random.integers(0, 3, 400)
        judged = []
        for _ in range(trials):
            said = random.normal(size=(400, 3)) + 1.2 * np.eye(3)[targets]
            judged.append(Draws.of(metric, targets, said, seed=seed))
        corrected = score_of_a_choice(judged)
        assert corrected is not None
        told.append(corrected)
        best.append(max(each.score for each in judged))
    true = metric.score(
        many := random.integers(0, 3, 40_000),
        random.normal(size=(40_000, 3)) + 1.2 * np.eye(3)[many],
    )
    assert np.mean(told) == pytest.approx(true, abs=0.012)
    assert np.mean(best) > np.mean(told) + 0.003
