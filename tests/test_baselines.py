"""Simple models are measured once, on the rows of the trials, and never stop a job."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from search.baselines import BASELINES, MOST_ROWS, BaselineName
from search.metrics import METRICS
from tests.small_job import bench_of, prepared
from workers.baselines import measure_baseline
from workers.data import load_data
from workers.rows import Rows
from workers.steps import MAX_ATTEMPTS, next_step


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    data = load_data("digits", cache=tmp_path_factory.mktemp("cache"))
    images, labels = data.train_images, data.train_labels
    return Rows(images[:800], labels[:800], images[800:], labels[800:], data.classes)


@pytest.mark.parametrize("name", BASELINES)
def test_each_learns_digits_and_says_the_same_again(name: BaselineName, digits: Rows) -> None:
    found = measure_baseline(name, digits, seed=3)
    assert found.score is not None and found.score > 0.88 and found.rows == 800
    again = measure_baseline(name, digits, seed=3)
    assert dataclasses.replace(again, seconds=found.seconds) == found


@pytest.mark.parametrize("name", BASELINES)
def test_large_colour_images_and_many_rows_are_cut_down(name: BaselineName) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(MOST_ROWS + 100) % 2
    images = generator.integers(0, 60, (len(labels), 40, 36, 3), dtype=np.uint8)
    images[labels == 1, 20:] += 150
    rows = Rows(images, labels, images[:60], labels[:60], 2)
    found = measure_baseline(name, rows, seed=0)
    assert (found.score, found.rows) == (1.0, MOST_ROWS)


def test_by_another_metric_a_baseline_has_its_score_if_it_has_probabilities(digits: Rows) -> None:
    for metric, least in (("macro_f1", 0.88), ("log_loss", -0.6), ("roc_auc", 0.98)):
        found = measure_baseline("MLP", digits, seed=3, metric=METRICS[metric])  # type: ignore[index]
        assert found.score is not None and least < found.score < 1.0
    svm = measure_baseline("SVM", digits, seed=3, metric=METRICS["log_loss"])
    assert (svm.score, svm.note) == (None, "an SVM gives no probabilities")


def test_what_cannot_be_trained_has_no_score(digits: Rows) -> None:
    one_class = dataclasses.replace(digits, train_labels=np.zeros(800, dtype=np.int64))
    found = measure_baseline("SVM", one_class, seed=0)
    assert found.score is None and "class" in found.note


def test_a_job_measures_each_once_before_its_trials(tmp_path: Path) -> None:
    store, job, worker = prepared(tmp_path, baselines=True, search_rows=100)
    with bench_of(store, job, worker) as bench:
        for _ in BASELINES:
            assert store.trials(job).records() == []
            next_step(bench, "searching")
        next_step(bench, "searching")
    assert [each.name for each in store.trials(job).baselines()] == list(BASELINES)
    assert [each.rows for each in store.trials(job).baselines()] == [100] * len(BASELINES)
    assert len(store.trials(job).records()) >= 1
    store.close()


def test_a_baseline_that_kills_its_workers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr("workers.steps.measure_baseline", die)
    store, job, worker = prepared(tmp_path, baselines=True)
    with bench_of(store, job, worker) as bench:
        for _ in range(MAX_ATTEMPTS):
            with pytest.raises(MemoryError):
                next_step(bench, "searching")
        next_step(bench, "searching")
    (found,) = store.trials(job).baselines()
    assert found.score is None and "given up after" in found.note and "too large" in found.note
    store.close()


@pytest.mark.parametrize("more", [{"budget": "30s"}, {"baselines": False}])
def test_short_searches_have_none(more: dict[str, object], tmp_path: Path) -> None:
    store, job, worker = prepared(tmp_path, **{"baselines": None, **more})
    with bench_of(store, job, worker) as bench:
        next_step(bench, "searching")
    assert store.trials(job).baselines() == []
    assert len(store.trials(job).records()) >= 1
    store.close()
