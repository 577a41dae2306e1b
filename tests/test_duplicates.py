"""Copies are found though they were saved anew, shifted or brightened; look-alikes are not."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.planted import planted
from search.duplicates import near_duplicates
from search.grouping import joined
from tests.pictures import photos, picture
from workers.fashion_mnist import load_fashion_mnist

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def clothes() -> Pixels:
    from athanor.places import Places

    cache = Places.of(None, None).cache
    return load_fashion_mnist(cache, progress=print)[0][:3000]


def test_planted_copies_in_fashion_mnist_are_found(clothes: Pixels) -> None:
    images, pairs, kinds = planted(clothes, 60, seed=1)
    found = {tuple(pair) for pair in near_duplicates(images[..., None]).pairs.tolist()}
    hits = np.array([pair in found for pair in pairs])
    recall = {kind: hits[np.array(kinds) == kind].mean() for kind in set(kinds)}
    assert recall["exact"] == 1.0 and recall["re-encoded"] >= 0.95
    assert recall["shifted"] >= 0.75 and recall["brightened"] >= 0.75
    assert len(found & set(pairs)) / len(found) >= 0.9


def test_large_coloured_images_are_compared_as_well() -> None:
    images = np.stack(photos()[:40])
    file = io.BytesIO()
    Image.fromarray(images[7]).save(file, "JPEG", quality=80)
    images[30] = np.asarray(Image.open(file))
    images[12] = images[5]
    assert near_duplicates(images).pairs.tolist() == [[5, 12], [7, 30]]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_few_and_flat_images(count: int) -> None:
    flat = np.full((count, 8, 8, 1), 7, dtype=np.uint8)
    assert near_duplicates(flat).pairs.shape == (0, 2)


def test_too_many_images_are_compared_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.duplicates.MOST_IMAGES", 10)
    images = np.stack([picture(seed // 2, 12, 12) for seed in range(40)])[..., None]
    found = near_duplicates(images)
    assert found.compared == 10 and len(found.pairs) < 20


def test_some_rows_of_several_parts_are_compared() -> None:
    images = np.stack([picture(seed % 8, 12, 12) for seed in range(24)])[..., None]
    rows = np.array([0, 3, 8, 13, 19, 21])
    assert near_duplicates(images, rows=rows).pairs.tolist() == [[0, 8], [3, 19], [13, 21]]
    parts = (images[:10], images[10:10], images[10:])
    assert near_duplicates(*parts, rows=rows).pairs.tolist() == [[0, 8], [3, 19], [13, 21]]
    assert len(near_duplicates(*parts).pairs) == 24


@pytest.mark.parametrize("size", [(1, 40), (2, 40), (40, 1), (2, 2)])
def test_images_of_few_pixels_are_compared(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (12, *size, 1), dtype=np.uint8)
    images[7] = images[2]
    assert [2, 7] in near_duplicates(images).pairs.tolist()


def test_pairs_join_groups() -> None:
    pairs = np.array([[0, 3], [3, 4]])
    alone = joined(None, pairs, count=6)
    assert alone is not None and alone[0] == alone[3] == alone[4] and len(set(alone)) == 4
    stated = joined(np.array([0, 0, 1, 2, 3, 3]), pairs, count=6)
    assert stated is not None and len({stated[row] for row in (0, 1, 3, 4, 5)}) == 1
    assert joined(None, pairs[:0], count=6) is None
