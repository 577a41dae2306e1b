"""Where rows are right or wrong together, a job's errors and intervals know how few they are."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from athanor.leaderboard import Leaderboard
from athanor.progress import Progress
from athanor.report.ranking import trial_score
from search.marks import Marks
from search.pairing import difference
from search.predictions import share_interval
from search.score_errors import binomial_error
from search.store import StudyStore
from tests.small_job import CACHE, worked
from workers.data import load_data
from workers.model_choice import BEST, JobToExport, write_networks

COPIES = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job on digits, each of which is there four times."""
    root = tmp_path_factory.mktemp("grouped")
    data = load_data("digits", cache=CACHE)
    np.savez(
        root / "copies.npz",
        images=data.train_images[:600].repeat(COPIES, axis=0),
        labels=data.train_labels[:600].repeat(COPIES),
        groups=np.arange(600).repeat(COPIES),
        x_test=data.test_images,
        y_test=data.test_labels,
    )
    job, _ = worked(
        root, data=str(root / "copies.npz"), trials=2, search_rows=800, finalists=1, folds=2
    )
    assert job.state == "done", job.error
    return root


@pytest.fixture
def store(folder: Path) -> Iterator[StudyStore]:
    store = StudyStore(f"sqlite:///{folder}/athanor.db")
    yield store
    store.close()


def board_of(store: StudyStore) -> Leaderboard:
    (job,) = store.jobs.list()
    return Leaderboard.read(store, Progress.read(store, job.id))


def test_trials_are_as_sure_of_their_scores_as_their_groups_let_them_be(store: StudyStore) -> None:
    for record in board_of(store).trials:
        marks = record.marks
        assert marks is not None and marks.groups is not None and record.error is not None
        assert len(np.unique(marks.groups)) < 0.6 * len(marks.right)
        blind = binomial_error(marks.share, rows=len(marks.right))
        assert record.error == pytest.approx(blind * math.sqrt(marks.effect_on(marks.right)))
        assert record.error > 1.2 * blind
        interval = trial_score(record, by_accuracy=True)
        assert interval.high is not None and interval.low is not None
        alone = Marks(marks.right).interval
        assert interval.high - interval.low > 1.2 * (alone[1] - alone[0])


def test_the_leaderboard_ties_trials_by_groups(store: StudyStore) -> None:
    board = board_of(store)
    first, second = (record.marks for record in board.trials)
    found = board.behind(board.trials[1])
    assert first is not None and second is not None and found is not None
    blind = difference(Marks(second.right), Marks(first.right))
    assert found.share == blind.share and found.error > 1.2 * blind.error > 0.0


def test_an_exported_networks_interval_is_over_groups(
    store: StudyStore, folder: Path, tmp_path: Path
) -> None:
    (job,) = store.jobs.list()
    data = load_data(job.spec.data, cache=CACHE)
    source = JobToExport(store=store, job=job, root=folder / "artifacts", data=data)
    scores = write_networks(source, BEST, tmp_path).scores
    rows = scores["out_of_fold_rows"]
    low, high = share_interval(scores["out_of_fold_accuracy"], rows=rows)
    for name in ("out_of_fold_accuracy_interval", "out_of_fold_interval"):
        found = scores[name]
        assert found[1] - found[0] > 1.6 * (high - low)  # of four copies twice as wide
