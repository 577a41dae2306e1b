"""Predictions depend on neither the batch nor the moment."""

import numpy as np
import pytest
import torch

from tests.training.harness import CPU, candidate, run, training_of
from workers.device import DevicePlan
from workers.evaluation import predict
from workers.finalist import processor_pace
from workers.rows import Rows


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_probabilities_sum_to_one_whatever_the_batch(
    few: Rows, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    training = run(training_of(candidate(epochs=1, dropout=0.5), few))
    plan = DevicePlan.from_json({"dtype": dtype})
    tolerance = 1e-5 if dtype == "float32" else 0.05
    expected = training.predict(few.train_images, CPU)
    for size in (1, 7, 200, 500):
        monkeypatch.setattr("workers.evaluation.LARGEST_BATCH", size)
        made = predict(
            training.network, few.train_images, normalisation=training.normalisation, plan=plan
        )
        assert made.shape == (200, 10) and made.dtype == np.float32
        assert np.allclose(made.sum(1), 1.0, atol=1e-5) and (made >= 0.0).all()
        assert np.allclose(made, expected, atol=tolerance)


@pytest.mark.parametrize("most", [500, 100, 3, 1])
def test_where_memory_is_short_fewer_images_at_once_are_predicted(few: Rows, most: int) -> None:
    training = run(training_of(candidate(epochs=1), few))
    expected = training.predict(few.train_images, CPU)
    seen: list[int] = []

    def fill(_: object, images: tuple[torch.Tensor, ...]) -> None:
        if len(images[0]) > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        seen.append(len(images[0]))

    hook = training.network.register_forward_pre_hook(fill)
    assert np.allclose(training.predict(few.train_images, CPU), expected, atol=1e-5)
    assert sum(seen) == len(few.train_images) and max(seen) <= most
    hook.remove()


@pytest.mark.parametrize("words", ["CUDA out of memory", "a size does not fit"])
def test_what_fewer_images_would_not_help_is_raised(few: Rows, words: str) -> None:
    training = run(training_of(candidate(epochs=1), few))
    tried: list[int] = []

    def fail(_: object, images: tuple[torch.Tensor, ...]) -> None:
        tried.append(len(images[0]))
        raise RuntimeError(words)

    training.network.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match=words):
        training.predict(few.train_images, CPU)
    assert tried[-1] == (1 if "memory" in words else len(few.train_images))


def test_predicting_changes_neither_the_network_nor_the_random_state(few: Rows) -> None:
    training = run(training_of(candidate(epochs=1, dropout=0.5), few))
    before = training.state()
    training.predict(few.validation_images, CPU)
    after = training.state()
    assert all(torch.equal(before.tensors[name], after.tensors[name]) for name in before.tensors)


def test_the_exported_networks_pace_is_that_of_the_processor(few: Rows) -> None:
    training = run(training_of(candidate(epochs=1), few))
    own = training.curve[-1].validation_seconds
    assert own is not None
    assert processor_pace(training) == own / len(few.validation_labels)
    training.evaluation = training.evaluation.model_copy(update={"device": "cuda"})
    assert 0.0 < processor_pace(training) != own / len(few.validation_labels)
