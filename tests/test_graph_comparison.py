"""How far a graph's predictions may be from the networks'."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spaces.errors import JobFailed
from workers.comparison import Answer, compared
from workers.samples import Samples
from workers.standalone import INT8, ONNX


def answer_of(predictions: NDArray[Any]) -> Answer:
    return Answer(predictions=predictions, latency=(1.0, 1.0), peak_memory=1)


@pytest.mark.parametrize(("wrong", "refused"), [(0, False), (10, False), (11, True)])
def test_eight_bits_may_lose_half_a_point(wrong: int, refused: bool) -> None:
    """Of 2,000 images, 10; the flips that other images make up for allow for more."""
    labels = np.arange(2000) % 2
    right = np.eye(2)[labels]
    samples = Samples(np.zeros((2000, 2, 2, 1), dtype=np.uint8), labels, right)
    found = right.copy()
    found[:wrong] = found[:wrong, ::-1]
    if not refused:
        told = compared(INT8, answer_of(found), samples, unit=None)
        assert told["accuracy_drop"] == pytest.approx(wrong / 2000)
        return
    with pytest.raises(JobFailed, match=r"at most 0\.5 points of accuracy, but loses 0\.55"):
        compared(INT8, answer_of(found), samples, unit=None)


@pytest.mark.parametrize(("error", "refused"), [(1.04, False), (1.06, True)])
def test_eight_bits_may_lose_a_twentieth_of_the_rmse(error: float, refused: bool) -> None:
    labels = np.random.default_rng(0).normal(1e6, 5.0, 50)
    samples = Samples(np.zeros((50, 2, 2, 1), dtype=np.uint8), labels, labels[:, None] + 1.0)
    found = answer_of(labels[:, None] - error)
    if not refused:
        told = compared(INT8, found, samples, unit=1.0)
        assert (told["rmse"], told["rmse_before"]) == (pytest.approx(error), pytest.approx(1.0))
        return
    with pytest.raises(JobFailed, match=r"at most 1\.05, .* but has 1\.06"):
        compared(INT8, found, samples, unit=1.0)


def test_predictions_that_are_no_numbers_are_no_match() -> None:
    samples = Samples(
        np.zeros((4, 2, 2, 1), dtype=np.uint8), np.zeros(4, int), np.full((4, 2), 0.5)
    )
    with pytest.raises(JobFailed, match="differs by nan"):
        compared(ONNX, answer_of(np.full((4, 2), np.nan)), samples, unit=None)
