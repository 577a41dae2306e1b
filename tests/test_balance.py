"""Unbalanced classes are judged alike, and it is said."""

import json
from pathlib import Path

import numpy as np
import pytest

from search.balance import usual_metric, with_class_weights
from search.store import StudyStore
from spaces.recipe_space import RecipeSpace
from tests.small_job import worked
from workers.data import load_data


def labels_of(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize(
    ("counts", "metric"),
    [((100, 100), "accuracy"), ((100, 21), "accuracy"), ((100, 20), "balanced_accuracy")],
)
def test_the_usual_metric(counts: tuple[int, ...], metric: str) -> None:
    found, note = usual_metric(labels_of(*counts))
    assert found == metric
    assert ("balanced accuracy" in note) is (metric != "accuracy")


def test_a_space_that_says_how_to_weigh_stays_as_it_is() -> None:
    labels = labels_of(100, 2)
    changed, note = with_class_weights(RecipeSpace(), labels)
    assert changed.class_weights == ("balanced", "none") and "weighed" in note
    assert changed.prior()["class_weights"] == "balanced"
    for stated in (RecipeSpace(focals=(2.0,)), RecipeSpace(samplings=("balanced",))):
        assert with_class_weights(stated, labels) == (stated, "")
    assert with_class_weights(RecipeSpace(), labels_of(9, 9)) == (RecipeSpace(), "")


@pytest.mark.parametrize("asked", [None, "accuracy"])
def test_a_job_on_unbalanced_data_lands_with_classes_that_count_alike(
    asked: str | None, tmp_path: Path
) -> None:
    data = load_data("digits", cache=tmp_path)
    labels = data.train_labels
    rare = np.flatnonzero(labels == 3)[10:]
    kept = np.setdiff1d(np.arange(len(labels)), rare)
    np.savez(
        tmp_path / "rare.npz",
        images=data.train_images[kept],
        labels=labels[kept],
        x_test=data.test_images,
        y_test=data.test_labels,
    )
    more = {} if asked is None else {"metric": asked}
    job, _ = worked(tmp_path, data=str(tmp_path / "rare.npz"), search_epochs=2, **more)
    assert job.state == "done" and job.result is not None and job.plan is not None
    assert job.result["metric"] == (asked or "balanced_accuracy")
    manifest = json.loads(next(tmp_path.glob("**/models/*/model.json")).read_text())
    weighed = {network["recipe"]["class_weights"] for network in manifest["networks"]}
    assert weighed == ({"balanced"} if asked is None else {"none"})
    assert len(manifest["protocol"]["notes"]) == (2 if asked is None else 0)
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db")
    parameters = store.trials(job).study.trials[0].params
    assert ("class_weights" in parameters) is (asked is None)
    store.close()
