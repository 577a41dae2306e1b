"""Rows are parted by group, by time or as stated, and nothing leaks from one part into another."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from search.folds import ALL_ROWS, Folds
from search.job import JobSpec
from search.splits import Columns, by_group, make_folds, merged, with_duplicates
from spaces.errors import DataError
from tests.small_job import worked
from workers.data import load_data
from workers.splitting import split

Ints = NDArray[np.int64]


def parted(labels: Ints, columns: Columns, *, k: int = 4) -> tuple[Folds, str]:
    return make_folds(labels, columns, k=k, seed=0, data_fingerprint="x")


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(40, 200),
    groups=st.integers(8, 60),
    k=st.integers(2, 5),
)
def test_no_group_is_parted_and_parts_are_about_equal(
    seed: int, rows: int, groups: int, k: int
) -> None:
    random = np.random.default_rng(seed)
    labels, group = random.integers(0, 3, rows), random.integers(0, groups, rows)
    folds, note = parted(labels, Columns(groups=group), k=k)
    assert "group" in note
    judged = np.concatenate([fold.validation_rows for fold in folds.folds])
    assert np.array_equal(np.sort(judged), np.arange(rows))
    largest = np.bincount(group).max()
    for fold in folds.folds:
        assert not set(group[fold.train_rows]) & set(group[fold.validation_rows])
        assert abs(len(fold.validation_rows) - rows / k) <= largest + 3


def test_single_rows_are_dealt_out_by_class_as_evenly_as_without_groups() -> None:
    labels = np.repeat(np.arange(3), (50, 30, 21))
    numbers = by_group(labels, np.arange(101), k=5, seed=1)
    for kind, count in enumerate((50, 30, 21)):
        held = np.bincount(numbers[labels == kind], minlength=5)
        assert held.max() - held.min() <= 1 and held.sum() == count


def test_by_time_each_fold_learns_from_earlier_rows_alone() -> None:
    random = np.random.default_rng(0)
    times = random.permutation(np.repeat(np.arange(60.0), 2))
    folds, note = parted(np.zeros(120, np.int64), Columns(times=times))
    assert "earlier" in note and len(folds.folds) == 4
    for fold in folds.folds:
        assert times[fold.train_rows].max() < times[fold.validation_rows].min()
    latest = [times[fold.validation_rows].max() for fold in folds.folds]
    assert latest[0] == 59.0 and latest == sorted(latest, reverse=True)


def test_by_time_a_group_is_not_learnt_from_where_it_judges() -> None:
    times, groups = np.arange(100.0), np.arange(100) // 15
    folds, _ = parted(np.zeros(100, np.int64), Columns(times=times, groups=groups), k=2)
    for fold in folds.folds:
        assert not set(groups[fold.train_rows]) & set(groups[fold.validation_rows])
        assert len(fold.train_rows) >= 30


def test_stated_folds_are_taken_as_they_are() -> None:
    stated = np.array([0, 1, 2, -1, 0, 1, 2, -1])
    folds, note = parted(np.zeros(8, np.int64), Columns(folds=stated, times=np.arange(8.0)))
    assert "state" in note
    assert [fold.validation_rows.tolist() for fold in folds.folds] == [[0, 4], [1, 5], [2, 6]]
    assert folds.folds[0].train_rows.tolist() == [1, 2, 3, 5, 6, 7]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (Columns(folds=np.array([0, 0, 2, 2])), "lack 1"),
        (Columns(folds=np.array([0, 0, 0, -1])), "at least two of them"),
        (Columns(folds=np.array([0, 1, -2, 1])), "go from -2 to 1"),
        (Columns(groups=np.array([0, 0, 1, 1])), "4 folds need at least 4 groups, but there are 2"),
        (Columns(times=np.array([0.0, 0.0, 1.0, 1.0])), "5 different times"),
    ],
    ids=["gap", "one", "negative", "groups", "times"],
)
def test_what_cannot_be_parted_is_refused(columns: Columns, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parted(np.zeros(4, np.int64), columns)


def test_equal_images_are_a_group() -> None:
    images = np.random.default_rng(0).integers(0, 255, (12, 4, 4, 1), dtype=np.uint8)
    assert with_duplicates(None, images) == (None, 0)
    images[7] = images[3]
    images[9] = images[2]
    groups, copies = with_duplicates(None, images)
    assert copies == 2 and groups is not None
    assert groups[7] == groups[3] and groups[9] == groups[2] and len(set(groups)) == 10
    stated = np.arange(12) // 6  # an image that is in both makes them one
    together, _ = with_duplicates(stated, images)
    assert together is not None and len(set(together)) == 1


def test_groupings_are_merged() -> None:
    found = merged(np.array([0, 0, 1, 2, 3]), np.array([5, 6, 6, 7, 8]))
    assert found[0] == found[1] == found[2] and len(set(found)) == 3


def digits_with(path: Path, **columns: Any) -> str:
    data = load_data("digits", cache=path)
    np.savez(path / "data.npz", images=data.train_images, labels=data.train_labels, **columns)
    return str(path / "data.npz")


def test_the_test_rows_of_groups_and_times_are_parted_likewise(tmp_path: Path) -> None:
    count = len(load_data("digits", cache=tmp_path).train_labels)
    grouped = load_data(digits_with(tmp_path, groups=np.arange(count) // 7), cache=tmp_path)
    assert "no group" in grouped.test_split
    assert 0.25 < len(grouped.test_labels) / count < 0.35
    assert grouped.columns.groups is not None
    assert len(grouped.columns.groups) == len(grouped.train_labels)
    every = np.arange("2020-01-01", count, dtype="datetime64[D]")[:count]
    timed = load_data(digits_with(tmp_path, times=every), cache=tmp_path)
    assert "latest 30 %" in timed.test_split
    assert timed.columns.times is not None
    assert np.array_equal(
        timed.train_images,
        load_data("digits", cache=tmp_path).train_images[: len(timed.train_labels)],
    )


def test_planted_copies_are_never_parted(tmp_path: Path) -> None:
    data = load_data("digits", cache=tmp_path)
    images = np.concatenate([data.train_images, data.train_images[:300]])
    labels = np.concatenate([data.train_labels, data.train_labels[:300]])
    np.savez(tmp_path / "copies.npz", images=images, labels=labels)
    found = load_data(str(tmp_path / "copies.npz"), cache=tmp_path)
    trained = {image.tobytes() for image in found.train_images}
    assert not trained & {image.tobytes() for image in found.test_images}
    parts = split(JobSpec.parse({"data": "digits", "trials": 1}), found)
    assert any("copies" in note for note in parts.notes)
    for fold in parts.folds.folds:
        train = {found.train_images[row].tobytes() for row in fold.train_rows}
        assert not train & {found.train_images[row].tobytes() for row in fold.validation_rows}


def test_a_job_on_rows_with_times_is_trained_on_all_of_them_in_the_end(tmp_path: Path) -> None:
    count = len(load_data("digits", cache=tmp_path).train_labels)
    source = digits_with(tmp_path, times=np.arange(count, dtype=np.float64))
    job, folds = worked(tmp_path, data=source)
    assert job.state == "done", job.error
    assert job.plan is not None and job.result is not None
    assert (job.plan.final, job.result["final"]) == ("refit", "refit")
    assert {task.fold for task in folds if task.done} == {ALL_ROWS, 1, 2, 3}
    manifest = json.loads(next(tmp_path.glob("**/models/*/model.json")).read_text())
    assert any("earlier" in note for note in manifest["protocol"]["notes"])
