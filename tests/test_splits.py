"""Rows are parted by group, by time or as stated, and nothing leaks from one part into another."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from search.folds import ALL_ROWS, Fold, Folds
from search.grouping import deal_groups, image_hashes, merged, with_duplicates
from search.job_spec import JobSpec
from search.splits import Columns, make_folds
from spaces.errors import DataError
from tests.small_job import CACHE, worked
from workers.data import load_data
from workers.derived_test import derived_test
from workers.splitting import Split, check_metric, split

Ints = NDArray[np.int64]


def parted(labels: Ints, columns: Columns, *, k: int = 4) -> tuple[Folds, str]:
    return make_folds(labels, columns, k=k, seed=0, data_fingerprint="x")


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(40, 200),
    groups=st.integers(8, 60),
    k=st.integers(2, 5),
    pure=st.booleans(),
)
def test_no_group_is_parted_and_parts_are_about_equal(
    seed: int, rows: int, groups: int, k: int, pure: bool
) -> None:
    random = np.random.default_rng(seed)
    group = random.integers(0, groups, rows)
    labels = group % 3 if pure else random.integers(0, 3, rows)  # one class a group, or several
    folds, note = parted(labels, Columns(groups=group), k=k)
    assert "group" in note
    judged = np.concatenate([fold.validation_rows for fold in folds.folds])
    assert np.array_equal(np.sort(judged), np.arange(rows))
    largest = np.bincount(group).max()
    for fold in folds.folds:
        assert not set(group[fold.train_rows]) & set(group[fold.validation_rows])
        assert abs(len(fold.validation_rows) - rows / k) <= 2 * largest + 1


@pytest.mark.parametrize(
    ("classes", "groups", "k"), [(2, 10, 10), (2, 10, 5), (3, 9, 3), (50, 250, 5)]
)
def test_groups_of_one_class_each_fill_all_parts_alike(classes: int, groups: int, k: int) -> None:
    group = np.repeat(np.arange(groups), 8)
    folds, _ = parted(group % classes, Columns(groups=group), k=k)
    assert {len(fold.validation_rows) for fold in folds.folds} == {8 * groups // k}


@pytest.mark.parametrize("each", [5, 12, 40])
def test_one_copy_among_single_rows_changes_no_size(each: int) -> None:
    labels = np.repeat(np.arange(50), each)
    groups = np.arange(50 * each)
    groups[1] = groups[0]
    numbers = deal_groups(labels, groups, shares=[0.2] * 5, seed=1)
    assert numbers[0] == numbers[1]
    sizes = np.bincount(numbers)
    assert sizes.max() - sizes.min() <= 2
    for kind in range(50):
        held = np.bincount(numbers[labels == kind], minlength=5)
        assert held.max() - held.min() <= 2
    test = deal_groups(labels, groups, shares=(0.7, 0.3), seed=0) == 1
    assert test.mean() == pytest.approx(0.3, abs=0.01)


def test_fewer_groups_than_parts_are_refused() -> None:
    with pytest.raises(DataError, match="2 groups must fill 4 parts, but 2 would be empty"):
        deal_groups(np.zeros(4, np.int64), np.array([0, 0, 1, 1]), shares=[0.25] * 4, seed=0)


@settings(deadline=None, max_examples=60)
@given(counts=st.lists(st.integers(1, 30), min_size=3, max_size=40), k=st.integers(1, 8))
def test_blocks_of_time_are_in_order_and_never_empty(counts: list[int], k: int) -> None:
    times = np.repeat(np.arange(len(counts), dtype=np.float64), counts)
    if k + 1 > len(counts):
        return
    folds, _ = parted(np.zeros(len(times), np.int64), Columns(times=times), k=k)
    judged = [times[fold.validation_rows] for fold in folds.folds]
    assert all(len(each) for each in judged)
    assert all(later.min() > earlier.max() for later, earlier in itertools.pairwise(judged))
    assert judged[0].max() == times.max()


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
        (Columns(folds=np.array([0, 0, 2, 2])), "but 2 go from 0 to 2"),
        (Columns(folds=np.array([0, 20240101, 20240102, 0])), "but 3 go from 0 to 20240102"),
        (Columns(folds=np.array([0, 0, 0, -1])), "at least two of them"),
        (Columns(folds=np.array([0, 1, -2, 1])), "but 2 go from -2 to 1"),
        (Columns(times=np.array([0.0, 0.0, 1.0, 1.0])), "4 folds by time need 5 different times"),
    ],
    ids=["gap", "dates", "one", "negative", "times"],
)
def test_what_cannot_be_parted_is_refused(columns: Columns, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parted(np.zeros(4, np.int64), columns)


def test_equal_images_are_a_group() -> None:
    images = np.random.default_rng(0).integers(0, 255, (12, 4, 4, 1), dtype=np.uint8)
    assert with_duplicates(None, image_hashes(images)) == (None, 0)
    images[7] = images[3]
    images[9] = images[2]
    groups, copies = with_duplicates(None, image_hashes(images))
    assert copies == 2 and groups is not None
    assert groups[7] == groups[3] and groups[9] == groups[2] and len(set(groups)) == 10
    stated = np.arange(12) // 6  # an image that is in both makes them one
    together, _ = with_duplicates(stated, image_hashes(images))
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


@pytest.mark.parametrize("patients", [3, 4, 8])
def test_few_groups_or_times_have_fewer_folds(patients: int, tmp_path: Path) -> None:
    data = load_data("digits", cache=tmp_path)
    count, spec = len(data.train_labels), JobSpec.parse({"data": "digits", "workers": 8})
    for columns in (
        {"groups": np.arange(count) % patients},
        {"times": np.arange(count) % patients},
    ):
        source = digits_with(tmp_path, **columns, x_test=data.test_images, y_test=data.test_labels)
        parts = split(spec, load_data(source, cache=tmp_path))
        assert 1 <= parts.count < patients
        assert all(len(fold.validation_rows) for fold in parts.folds.folds)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_rare_class_takes_no_folds_from_the_others(grouped: bool, tmp_path: Path) -> None:
    data = load_data("digits", cache=tmp_path)
    rare = np.flatnonzero(data.train_labels == 3)[2:]
    kept = np.setdiff1d(np.arange(len(data.train_labels)), rare)
    arrays: dict[str, Any] = {
        "images": data.train_images[kept],
        "labels": data.train_labels[kept],
        "x_test": data.test_images,
        "y_test": data.test_labels,
    }
    if grouped:
        arrays["groups"] = np.arange(len(kept)) // 4
    np.savez(tmp_path / "rare.npz", **arrays)
    spec = JobSpec.parse({"data": "digits", "workers": 2})
    parts = split(spec, load_data(str(tmp_path / "rare.npz"), cache=tmp_path))
    assert parts.count == 4
    assert any("too rare to be in each of 5 parts" in n and n.endswith(" 3") for n in parts.notes)


def test_patients_are_not_in_the_test_set_even_where_it_is_the_latest(tmp_path: Path) -> None:
    count = len(load_data("digits", cache=tmp_path).train_labels)
    patients, times = np.arange(count) % 50, np.arange(count, dtype=np.float64)
    patients[: count // 2] += 50
    source = digits_with(tmp_path, groups=patients, times=times)
    found = load_data(source, cache=tmp_path)
    assert found.columns.groups is not None and found.columns.groups.min() >= 50
    assert 0 < len(found.train_labels) < 0.7 * count


def test_what_crosses_stated_folds_or_the_test_set_is_told(tmp_path: Path) -> None:
    data = load_data("digits", cache=tmp_path)
    images, labels = data.train_images.copy(), data.train_labels
    images[1], images[3] = images[0], data.test_images[0]
    np.savez(
        tmp_path / "crossing.npz",
        images=images,
        labels=labels,
        folds=np.arange(len(labels)) % 4,
        x_test=data.test_images,
        y_test=data.test_labels,
    )
    parts = split(
        JobSpec.parse({"data": "digits"}), load_data(str(tmp_path / "crossing.npz"), cache=tmp_path)
    )
    told = " | ".join(parts.notes)
    assert "1 groups or equal images are on both sides of a stated fold" in told
    assert "1 images of the test set are in the training rows" in told


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
    groups = parts.folds.groups  # by which intervals know that copies tell nothing new
    assert groups is not None and len(np.unique(groups)) == len(trained)
    assert split(JobSpec.parse({"data": "digits", "trials": 1}), data).folds.groups is None


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


@pytest.mark.parametrize(("count", "parts"), [(40, 16), (20, 10), (4, 4)])
def test_parts_are_no_smaller_than_two_groups_of_a_class_unless_they_must_be(
    count: int, parts: int, tmp_path: Path
) -> None:
    rows = np.arange(48_000)
    images = np.random.default_rng(0).integers(0, 256, (len(rows), 4, 4), np.uint8)
    np.savez(
        tmp_path / "d.npz",
        images=images,
        labels=rows // count % 2,  # a group has rows of both
        groups=rows % count,
        test_images=images[:20] ^ 1,
        test_labels=rows[:20] % 2,
    )
    data = load_data(str(tmp_path / "d.npz"), cache=tmp_path)
    spec = JobSpec.parse({"data": str(tmp_path / "d.npz"), "budget": "10m", "workers": 2})
    assert split(spec, data).parts == parts


def test_of_many_rows_more_judge_trials_and_a_network_misses_few(tmp_path: Path) -> None:
    rows, random = np.arange(48_000), np.random.default_rng(0)
    images = random.integers(0, 256, (len(rows), 4, 4), np.uint8)
    test = random.integers(0, 256, (20, 4, 4), np.uint8)
    cases: dict[str, dict[str, Any]] = {"class": {}, "group": {"groups": rows // 5}}
    for name, known in cases.items():
        path = tmp_path / f"{name}.npz"
        np.savez(
            path,
            images=images,
            labels=rows % 2,
            test_images=test,
            test_labels=rows[:20] % 2,
            **known,
        )
        parts = split(
            JobSpec.parse({"data": str(path), "folds": 4}), load_data(str(path), cache=tmp_path)
        )
        judging, *others = parts.folds.folds
        assert (parts.parts, parts.count, len(others)) == (16, 4, 14)
        assert len(judging.validation_rows) == pytest.approx(6_000, abs=5)
        for fold in others:
            assert len(fold.validation_rows) == pytest.approx(3_000, abs=5)
        every = [fold.validation_rows for fold in parts.folds.folds]
        assert np.array_equal(np.sort(np.concatenate(every)), rows)
        for fold in parts.folds.folds:
            both = np.sort(np.concatenate([fold.train_rows, fold.validation_rows]))
            assert np.array_equal(both, rows)
            if known:
                assert not set(fold.train_rows // 5) & set(fold.validation_rows // 5)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), grouped=st.booleans(), more=st.integers(0, 3))
def test_added_and_moved_rows_leave_the_others_in_the_test_or_out_of_it(
    seed: int, grouped: bool, more: int
) -> None:
    random = np.random.default_rng(seed)
    count = 240 + more
    hashes = [random.bytes(16) for _ in range(count)]
    labels, groups = random.integers(0, 4, count), random.integers(0, 60, count)

    def test_of(rows: Ints) -> set[bytes]:
        columns = Columns(groups=groups[rows] if grouped else None)
        kept = [hashes[row] for row in rows]
        learnt, test, _ = derived_test(kept, labels[rows], columns)
        assert sorted([*learnt, *test]) == list(range(len(rows)))
        assert not grouped or not set(groups[rows][learnt]) & set(groups[rows][test])
        assert set(labels[rows][test]) == set(range(4))
        assert 0.2 < len(test) / len(rows) < 0.4
        return {kept[row] for row in test}

    before, after = test_of(np.arange(240)), test_of(random.permutation(count))
    if not more:
        assert after == before
    known = set(hashes[:240])
    assert len(before ^ (after & known)) <= (8 * 8 if grouped else 2 * 4) * bool(more)


@pytest.mark.parametrize("large", [b"\x00", b"\xff"])  # the hash of its first row
def test_a_large_group_is_learnt_from(large: bytes) -> None:
    hashes = [large + bytes([row]) for row in range(90)] + [b"\x77" + bytes([n]) for n in range(10)]
    groups = np.array([0] * 90 + list(range(1, 11)))
    learnt, test, _ = derived_test(hashes, np.zeros(100, np.int64), Columns(groups=groups))
    assert set(test) == set(range(90, 100)) and len(learnt) == 90


@pytest.mark.parametrize(("metric", "said"), [("roc_auc", "two classes"), ("r2", "two different")])
def test_folds_that_a_metric_cannot_judge_are_refused(metric: Any, said: str) -> None:
    labels = np.array([0, 1, 0, 1, 1, 1, 0, 1])
    data = load_data("digits", cache=CACHE)
    classes = () if metric == "r2" else ("a", "b")
    answers = labels.astype(np.float64) if metric == "r2" else labels
    few = replace(data, train_images=data.train_images[:8], train_labels=answers)
    few = replace(few, test_labels=few.train_labels[:0], class_names=classes)
    rows = np.arange(8)
    folds = tuple(
        Fold(number, np.setdiff1d(rows, judged), judged)
        for number, judged in enumerate((rows[:4], rows[4:6]))
    )
    parts = Split(Folds(folds, seed=0, data_fingerprint=""), 2, 1, "bag", ())
    with pytest.raises(DataError, match=f"{metric} needs .*{said}.* in each fold, but fold 1 has"):
        check_metric(metric, few, parts)
