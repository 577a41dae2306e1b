"""What a job tries first depends on its space and on how many images a trial sees."""

import numpy as np
import pytest

from search.first_trials import first_trials
from search.plan import HostSpeed, Shape
from spaces.cnn import CnnSpace
from spaces.limits import Limits
from spaces.recipe import SHIFT_FROM, Augmentation, Recipe
from workers.data import ImageData
from workers.preparation import (
    PRIOR_EXCESS,
    prior_complexity,
    space_within,
    usual_macs,
    with_small_batches,
)

AUGMENTATIONS: tuple[Augmentation, ...] = ("none", "flip", "shift", "flip_shift")
SPEED = HostSpeed(images_per_second=8000, macs=3_300_000)
SHAPE = Shape(rows=50_000, splits=10, folds=4, workers=2)


def images_of(side: int) -> ImageData:
    """Return two colour images, as their shape is all that counts."""
    images, labels = np.zeros((2, side, side, 3), np.uint8), np.arange(2)
    return ImageData("two", images, labels, images, labels, ("a", "b"), "given")


@pytest.mark.parametrize(
    ("times", "limit"), [(2.0, "affordable"), (0.7, "prior"), (0.5, "affordable"), (0.1, "third")]
)
def test_a_limit_is_stretched_for_the_first_network_if_it_lacks_little(
    times: float, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, space = images_of(28), CnnSpace()
    smallest = prior_complexity(space, size=space.sizes[0], data=data).macs
    needed = smallest / (1.0 + PRIOR_EXCESS)
    affordable = round(times * needed)
    monkeypatch.setattr("workers.preparation.macs_for", lambda *_, **__: affordable)
    macs = usual_macs(60.0, space, data=data, shape=SHAPE, speed=SPEED)
    expected = {"affordable": affordable, "prior": needed, "third": needed / 3.0}[limit]
    assert macs is not None and macs == pytest.approx(expected, abs=1.0)
    _, size = space_within(space, Limits(macs=macs), data=data)
    within = prior_complexity(space, size=size, data=data).macs <= macs * (1.0 + PRIOR_EXCESS)
    assert within is (times >= 0.7)


def test_without_a_budget_no_cost_is_too_much() -> None:
    assert usual_macs(None, CnnSpace(), data=images_of(28), shape=SHAPE, speed=SPEED) is None


@pytest.mark.parametrize(
    ("images", "sizes", "first"),
    [(100, (64,), 64), (26_000, (64, 128), 128), (10**6, (64, 128, 256, 512), 256)],
)
def test_few_images_call_for_small_batches(images: int, sizes: tuple[int, ...], first: int) -> None:
    space = with_small_batches(CnnSpace(), images=images)
    assert space.recipe.batch_sizes == sizes
    assert first_trials(space, size=16)[0]["batch_size"] == first


@pytest.mark.parametrize(
    ("times", "batch", "rate"),
    [(0.5, 64, 0.2), (1.0, 64, 0.2), (4.0, 128, 0.2 * 2**0.5), (30.0, 256, 0.4), (1e4, 256, 0.4)],
)
def test_a_longer_training_has_larger_batches_and_rates(
    times: float, batch: int, rate: float
) -> None:
    recipe = Recipe(batch_size=64, learning_rate=0.2, weight_decay=0.01)
    longer = recipe.lengthened(
        epochs=9, expected=9, times=times, largest_batch=256, augmentations=AUGMENTATIONS
    )
    assert longer == recipe.model_copy(
        update={"epochs": 9, "batch_size": batch, "learning_rate": pytest.approx(rate)}
    )


def test_a_large_batch_is_not_cut_by_a_longer_training() -> None:
    recipe = Recipe(batch_size=512)
    assert (
        recipe.lengthened(
            epochs=8, expected=8, times=50.0, largest_batch=256, augmentations=AUGMENTATIONS
        )
        == recipe
    )


@pytest.mark.parametrize(
    ("short", "long"),
    [("none", "shift"), ("flip", "flip_shift"), ("flip_shift_erase", "flip_shift_erase")],
)
def test_a_long_training_also_shifts_its_images(short: Augmentation, long: Augmentation) -> None:
    recipe = Recipe(augmentation=short)
    unshifted: tuple[Augmentation, ...] = ("none", "flip")
    for expected, allowed, augmentation in (
        (SHIFT_FROM - 1, AUGMENTATIONS, short),
        (SHIFT_FROM, AUGMENTATIONS, long),
        (SHIFT_FROM, unshifted, short),
    ):
        made = recipe.lengthened(
            epochs=30, expected=expected, times=1.0, largest_batch=256, augmentations=allowed
        )
        assert made == recipe.model_copy(update={"epochs": 30, "augmentation": augmentation})
