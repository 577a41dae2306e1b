"""Rows are parted more than once, and what is said of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from athanor.report import asked
from search.folds import Folds
from search.job_spec import JobSpec
from search.splits import Columns, make_folds, repeated
from spaces.errors import DataError
from tests.small_job import worked
from workers.data import load_data
from workers.files import JobFiles
from workers.model_folder import read_manifest
from workers.splitting import split


@pytest.mark.parametrize("grouped", [False, True])
def test_rows_are_parted_repeatedly_and_those_of_the_judging_fold_judge_no_network(
    grouped: bool,
) -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 4) if grouped else None
    labels = np.repeat(random.integers(0, 3, 60), 4) if grouped else random.integers(0, 3, 240)
    first, _ = make_folds(labels, Columns(groups=groups), k=6, seed=0, data_fingerprint="x")
    folds = repeated(first, labels, groups, count=5, repeats=3)
    judging, *others = folds.folds
    assert np.array_equal(judging.validation_rows, first.folds[0].validation_rows)
    assert [fold.number for fold in folds.folds] == list(range(16))
    rest = np.setdiff1d(np.arange(240), judging.validation_rows)
    for repeat in range(3):
        parts = [fold.validation_rows for fold in others[5 * repeat : 5 * repeat + 5]]
        assert np.array_equal(np.sort(np.concatenate(parts)), rest)
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= (12 if grouped else 3)
    for fold in others:
        assert np.array_equal(
            np.sort(np.concatenate([fold.train_rows, fold.validation_rows])), np.arange(240)
        )
        if groups is not None:
            assert not set(groups[fold.train_rows]) & set(groups[fold.validation_rows])
    assert not np.array_equal(others[0].validation_rows, others[5].validation_rows)
    few = repeated(first, labels, groups, count=2, repeats=2)
    assert len(few.folds) == 5
    assert np.array_equal(few.folds[1].validation_rows, others[0].validation_rows)


def test_a_job_with_repeats_judges_each_row_as_often(tmp_path: Path) -> None:
    job, tasks = worked(tmp_path, folds=2, repeats=3)
    assert job.state == "done" and job.result is not None, job.error
    assert [task.fold for task in tasks] == [1, 2, 3, 4, 5, 6] and all(t.done for t in tasks)
    assert job.result["networks"] == 6
    rows = 1258 - 1258 // 3  # all but the judging fold's
    assert abs(job.result["out_of_fold_rows"] - rows) <= 10
    assert job.result["expected"]["rows"] == job.result["out_of_fold_rows"]  # each counts once
    assert job.plan is not None
    folds = Folds.load(JobFiles(tmp_path / "artifacts", job.id).folds(job.plan.folds_hash))
    parted = "the rows are parted into 3 parts of 419 to 420 rows, 3 times; seed 0"
    assert parted in asked.protocol_of(job, folds, None).sentences
    protocol = read_manifest(tmp_path / "artifacts" / job.id / job.result["model"]).protocol
    assert (protocol["splits"], protocol["repeats"]) == (3, 3)


@pytest.mark.parametrize("column", ["times", "folds"])
def test_rows_that_are_parted_in_one_way_alone_are_not_parted_repeatedly(
    tmp_path: Path, column: str
) -> None:
    rows = np.arange(120)
    images = np.random.default_rng(0).integers(0, 256, (120, 8, 8), np.uint8)
    known: dict[str, Any] = {column: rows // 10 if column == "times" else rows % 4}
    np.savez(tmp_path / "d.npz", images=images, labels=rows % 2, **known)
    data = load_data(str(tmp_path / "d.npz"), cache=tmp_path)
    with pytest.raises(DataError, match="repeats need folds by class or"):
        split(JobSpec.parse({"data": str(tmp_path / "d.npz"), "repeats": 2, "folds": 1}), data)


def test_one_network_is_not_told_to_be_as_good_as_the_mean_of_three(tmp_path: Path) -> None:
    """Where rows are parted three times, what is said of a refit is what one network reached."""
    job, tasks = worked(tmp_path, folds=2, repeats=3, final="refit")
    assert job.state == "done" and job.result is not None, job.error
    first = [task for task in tasks if task.fold in (1, 2)]
    rows = [split_rows(tmp_path, job, task.fold) for task in first]
    alone = np.average([task.score or 0.0 for task in first], weights=rows)
    assert job.result["out_of_fold_score"] == pytest.approx(alone)
    assert job.result["expected"]["score"] == pytest.approx(alone)


def test_repeats_need_two_folds(tmp_path: Path) -> None:
    data = load_data("digits", cache=tmp_path)
    with pytest.raises(DataError, match="two folds besides the judging one, but got 1"):
        split(JobSpec.parse({"data": "digits", "repeats": 2, "folds": 1}), data)


def split_rows(folder: Path, job: Any, fold: int) -> int:
    folds = Folds.load(JobFiles(folder / "artifacts", job.id).folds(job.plan.folds_hash))
    return len(folds.folds[fold].validation_rows)
