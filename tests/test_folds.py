"""Folds part the rows fairly, repeat with their seed, and survive storage or say why not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from search.folds import Fold, Folds, read_arrays, stratified_folds, stratified_subset, write_arrays
from spaces.errors import DataError, StoreError

Ints = NDArray[np.int64]
class_counts = st.lists(st.integers(4, 30), min_size=1, max_size=6)


def shuffled_labels(counts: list[int], seed: int = 0) -> Ints:
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(seed).permutation(labels)


def some_folds(seed: int = 3) -> Folds:
    labels = shuffled_labels([9, 13, 20])
    return stratified_folds(labels, k=3, seed=seed, data_fingerprint="data-a")


@given(counts=class_counts, k=st.integers(2, 4), seed=st.integers(0, 2**31 - 1))
@settings(deadline=None, max_examples=40)
def test_folds_partition_the_rows(counts: list[int], k: int, seed: int) -> None:
    labels = shuffled_labels(counts)
    made = stratified_folds(labels, k=k, seed=seed, data_fingerprint="x")
    everything = np.arange(len(labels))
    assert [fold.number for fold in made.folds] == list(range(k))
    judged = np.concatenate([fold.validation_rows for fold in made.folds])
    assert np.array_equal(np.sort(judged), everything)
    for fold in made.folds:
        assert fold.train_rows.dtype == fold.validation_rows.dtype == np.int64
        assert (np.diff(fold.train_rows) > 0).all() and (np.diff(fold.validation_rows) > 0).all()
        both = np.concatenate([fold.train_rows, fold.validation_rows])
        assert np.array_equal(np.sort(both), everything)


@given(counts=class_counts, k=st.integers(2, 4), seed=st.integers(0, 2**31 - 1))
@settings(deadline=None, max_examples=40)
def test_every_fold_holds_an_equal_share_of_each_class(
    counts: list[int], k: int, seed: int
) -> None:
    labels = shuffled_labels(counts)
    made = stratified_folds(labels, k=k, seed=seed, data_fingerprint="x")
    for fold in made.folds:
        held = np.bincount(labels[fold.validation_rows], minlength=len(counts))
        assert (np.abs(held - np.array(counts) / k) < 1).all()


def test_equal_seeds_give_equal_folds_and_others_do_not() -> None:
    assert some_folds(seed=3).hash == some_folds(seed=3).hash
    assert some_folds(seed=3).hash != some_folds(seed=4).hash


def test_the_hash_knows_rows_borders_and_data() -> None:
    def folds(train: list[int], validation: list[int], data: str = "d") -> Folds:
        return Folds(
            (Fold(0, np.array(train), np.array(validation)),), seed=0, data_fingerprint=data
        )

    base = folds([0, 1], [2]).hash
    assert len(base) == 64 and base == folds([0, 1], [2]).hash
    others = [folds([0, 1], [3]), folds([0], [1, 2]), folds([0, 1], [2], data="e")]
    assert len({base, *(other.hash for other in others)}) == 4


@pytest.mark.parametrize(
    ("labels", "k", "parts"),
    [
        ([0, 0, 1, 1], 1, ["at least 2", "got 1"]),
        ([0, 0, 7, 7], 3, ["some class", "has 2", "each of 2 others"]),
        ([], 2, ["non-empty", "(0,)"]),
        ([0.5, 0.5], 2, ["integers", "float64"]),
        ([[0, 1], [0, 1]], 2, ["(2, 2)"]),
    ],
)
def test_labels_that_cannot_be_split(labels: list[float], k: int, parts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        stratified_folds(np.array(labels), k=k, seed=0, data_fingerprint="x")
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_a_rare_class_is_in_as_many_folds_as_it_has_rows() -> None:
    labels = np.array([0] * 50 + [1] * 2 + [2])
    folds = stratified_folds(labels, k=10, seed=0, data_fingerprint="x").folds
    sizes = [len(fold.validation_rows) for fold in folds]
    assert sum(sizes) == 53 and max(sizes) - min(sizes) <= 2
    judging = [set(labels[fold.validation_rows].tolist()) for fold in folds]
    assert sum(1 in each for each in judging) == 2 and sum(2 in each for each in judging) == 1
    assert all((labels[fold.train_rows] == 1).any() for fold in folds)


def test_check_names_both_fingerprints() -> None:
    some_folds().check("data-a")
    with pytest.raises(DataError, match=r"data-a.*data-b"):
        some_folds().check("data-b")


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "folds.npz"
    path.write_text("an older file")
    made = some_folds()
    made.save(path)
    loaded = Folds.load(path)
    assert (loaded.hash, loaded.seed, loaded.data_fingerprint) == (made.hash, 3, "data-a")
    for one, other in zip(made.folds, loaded.folds, strict=True):
        assert one.number == other.number
        assert np.array_equal(one.train_rows, other.train_rows)
        assert np.array_equal(one.validation_rows, other.validation_rows)
    assert [each.name for each in tmp_path.iterdir()] == ["folds.npz"]  # nothing temporary


def test_a_save_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folds.npz"
    some_folds(seed=3).save(path)

    def disk_full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", disk_full)
    with pytest.raises(OSError, match="no space left"):
        some_folds(seed=4).save(path)
    assert Folds.load(path).seed == 3
    assert [each.name for each in tmp_path.iterdir()] == ["folds.npz"]


def test_a_reader_of_the_old_file_never_sees_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "folds.npz"
    some_folds(seed=3).save(path)
    old = path.read_bytes()
    with path.open("rb") as reader:
        some_folds(seed=4).save(path)
        assert reader.read() == old
    assert Folds.load(path).seed == 4


@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@settings(deadline=None, max_examples=150)
def test_a_changed_byte_is_noticed_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, place: float, flip: int
) -> None:
    path = tmp_path_factory.mktemp("folds") / "folds.npz"
    some_folds().save(path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= flip
    path.write_bytes(content)
    try:
        loaded = Folds.load(path)
    except StoreError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert (loaded.hash, loaded.seed) == (some_folds().hash, 3)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut"])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "folds.npz"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"folds\.npz must be a readable \.npz"):
        Folds.load(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="FileNotFoundError"):
        Folds.load(tmp_path / "folds.npz")


def test_altered_rows_do_not_fit_the_hash(tmp_path: Path) -> None:
    path = tmp_path / "folds.npz"
    some_folds().save(path)
    arrays = read_arrays(path)
    arrays["train_1"] = arrays["train_1"][1:]
    write_arrays(path, arrays)
    with pytest.raises(StoreError, match=f"must hash to {some_folds().hash}"):
        Folds.load(path)


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "folds.npz"
    write_arrays(path, {"x": np.arange(3)})
    with pytest.raises(StoreError, match=r"must hold folds.*'folds'"):
        Folds.load(path)


def test_pickled_objects_are_neither_read_nor_written(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(path, {"folds": objects})
    assert not list(tmp_path.iterdir())
    np.savez(path, folds=objects)
    with pytest.raises(StoreError, match="allow_pickle"):
        Folds.load(path)


@given(counts=class_counts, share=st.floats(0, 1.2), seed=st.integers(0, 1000))
@settings(deadline=None)
def test_a_subset_has_its_size_and_every_class(counts: list[int], share: float, seed: int) -> None:
    labels = shuffled_labels(counts)
    rows = np.flatnonzero(np.arange(len(labels)) % 4)  # some rows are not to choose from
    size = max(1, round(share * len(rows)))
    chosen = stratified_subset(labels, rows, size=size, seed=seed)
    assert len(chosen) == min(size, len(rows))
    assert (np.diff(chosen) > 0).all() and np.isin(chosen, rows).all()
    present = len(np.unique(labels[rows]))
    assert len(np.unique(labels[chosen])) == min(size, present)
    again = stratified_subset(labels, rows[::-1], size=size, seed=seed)
    assert np.array_equal(chosen, again)


@pytest.mark.parametrize(
    ("counts", "size", "taken"),
    [
        ([100, 100, 100], 30, [10, 10, 10]),
        ([600, 300, 100], 100, [60, 30, 10]),
        ([600, 300, 100], 10, [6, 3, 1]),
        ([1000, 1000, 2], 41, [20, 20, 1]),  # the rare class keeps a row
        ([5, 50, 500], 2, [0, 1, 1]),
    ],
)
def test_a_subset_keeps_the_shares(counts: list[int], size: int, taken: list[int]) -> None:
    labels = shuffled_labels(counts)
    chosen = stratified_subset(labels, np.arange(len(labels)), size=size, seed=5)
    held = np.bincount(labels[chosen], minlength=len(counts))
    assert held.tolist() == taken


def test_a_smaller_subset_lies_within_a_larger_one_and_seeds_differ() -> None:
    labels = shuffled_labels([40, 60, 80])
    rows = np.arange(180)
    small, large, other = (
        stratified_subset(labels, rows, size=size, seed=seed)
        for size, seed in [(30, 1), (70, 1), (30, 2)]
    )
    assert np.isin(small, large).all()
    assert not np.array_equal(small, other)


def test_a_subset_of_no_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, but got 0"):
        stratified_subset(np.array([0, 1]), np.array([0, 1]), size=0, seed=0)


def test_groups_are_kept_with_the_folds_and_change_no_hash(tmp_path: Path) -> None:
    plain = some_folds()
    grouped = replace(plain, groups=np.arange(42) // 2)
    assert grouped.hash == plain.hash
    for number, folds in enumerate((plain, grouped)):
        folds.save(tmp_path / f"{number}.npz")
    assert Folds.load(tmp_path / "0.npz").groups is None
    loaded = Folds.load(tmp_path / "1.npz").groups
    assert loaded is not None and np.array_equal(loaded, np.arange(42) // 2)
