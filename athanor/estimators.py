"""`AthanorClassifier` and `AthanorRegressor`: a search as a scikit-learn estimator."""

import json
import os
import subprocess
import sys
import tempfile
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_array,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from athanor.loading import LoadedModel, load
from search.grouping import image_hashes, with_duplicates
from spaces.errors import DataError
from workers.npz import checked_images
from workers.row_images import RowImages

HELD_OUT = 0.1  # of the rows, which take part in nothing before the search is over
SEEDS = 2**31
PACKAGES = Path(__file__).resolve().parents[1]


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """What both estimators share.

    A tenth of the rows is set aside, always the same of equal ones, as a search opens a test set at
    its end; what is found there is `test_scores_`. The best of many fits by these is flattered:
    settings are to be compared by cross-validation.

    Args:
        budget: wall-clock time for everything, such as "60s" or "10m"; None: no limit but `trials`.
        trials: how many candidates are trained; None: as many as the budget allows.
        folds: how many networks the ensemble gets of each finalist; None: four to eight.
        metric: by which networks are chosen; None: the accuracy, or the root mean squared error.
        workers: processes; None: one a core.
        space: what may be built, as a job file states it; None: the usual space.
        random_state: seed of everything random; searches limited by trials alone then repeat.
        out: where the model folder is to be kept, in place of one that is there; None: in memory.

    Attributes:
        model_: the ensemble, as `athanor.load` returns it.
        test_scores_: what the model scored on the rows that were set aside, by name.
    """

    model_: LoadedModel

    def __init__(
        self,
        *,
        budget: str | None = "5m",
        trials: int | None = None,
        folds: int | None = None,
        metric: str | None = None,
        workers: int | None = None,
        space: Any = None,
        random_state: int | None = None,
        out: str | PathLike[str] | None = None,
    ) -> None:
        self.budget = budget
        self.trials = trials
        self.folds = folds
        self.metric = metric
        self.workers = workers
        self.space = space
        self.random_state = random_state
        self.out = out

    def _learn(
        self, images: NDArray[np.uint8], answers: NDArray[Any], arrays: dict[str, Any]
    ) -> None:
        """Search with these rows in a process of its own; keep the model.

        Args:
            arrays: what else the search's file of rows holds.
        """
        kind = "labels" if "class_names" in arrays else "targets"
        rows = _parted(images, answers, classes=kind == "labels")
        parts: dict[str, Any] = {
            f"{part}_{name}": array[chosen]
            for part, chosen in zip(("train", "test"), rows, strict=True)
            for name, array in (("images", images), (kind, answers))
        }
        with tempfile.TemporaryDirectory(prefix="athanor-") as name:
            folder = Path(name)
            np.savez(folder / "rows.npz", **parts, **arrays)
            out = folder / "model" if self.out is None else Path(self.out).absolute()
            result = self._search(folder, out)
            self.model_ = load(out)
        names = ("test_accuracy", "test_interval", "test_score", "test_score_interval")
        self.test_scores_ = {name: result[name] for name in names if name in result}

    def _job(self, folder: Path) -> dict[str, Any]:
        """Return what a job file says."""
        job = {
            "data": str(folder / "rows.npz"),
            "budget": self.budget,
            "trials": self.trials,
            "folds": self.folds,
            "metric": self.metric,
            "workers": self.workers,
            "space": self.space,
            "seed": None if self.random_state is None else int(self.random_state) % SEEDS,
            "baselines": False,
        }
        return {key: value for key, value in job.items() if value is not None}

    def _search(self, folder: Path, out: Path) -> dict[str, Any]:
        """Run the command in a folder, which leaves a model folder; return the job's result."""
        (folder / "job.yaml").write_text(json.dumps(self._job(folder)))  # JSON is YAML
        command = [sys.executable, "-P", "-m", "athanor", "search", "job.yaml", "--json", "--quiet"]
        command += ["--store", "athanor.db", "--artifacts", "artifacts"]
        paths = [str(PACKAGES), os.environ.get("PYTHONPATH", "")]
        done = subprocess.run(
            [*command, "--out", str(out), "--overwrite"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            error = ValueError if done.returncode == 2 else RuntimeError
            raise error(last.removeprefix("error: ").removeprefix("job.yaml: "))
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["result"]
        return result

    def _fitted_images(self, X: Any) -> NDArray[np.uint8]:
        """Return training rows as images, and remember how."""
        if _dimensions(X) > 2:
            self.row_images_ = None
            images = np.asarray(X)
            self.unit_ = np.issubdtype(images.dtype, np.floating) and images.max(initial=0.0) <= 1.0
            return _images(images)
        rows = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        self.row_images_ = RowImages.of(rows)
        return self.row_images_.images(rows)

    def _answers(self, y: Any, *, rows: int, dtype: Any) -> NDArray[Any]:
        """Return labels or numbers (rows,)."""
        if y is None:
            name = type(self).__name__
            raise ValueError(f"{name} requires y to be passed, but the target y is None")
        found: NDArray[Any] = check_array(
            column_or_1d(y, warn=True), ensure_2d=False, dtype=dtype, input_name="y"
        )
        if len(found) != rows:
            raise ValueError(f"y must have a value for each of {rows} rows, but has {len(found)}")
        return found

    def _images(self, X: Any) -> NDArray[np.uint8]:
        """Return rows to be predicted as images like those of the training."""
        check_is_fitted(self)
        if self.row_images_ is None:
            return _images(_in_unit(np.asarray(X), unit=self.unit_))
        return self.row_images_.images(validate_data(self, X, dtype=np.float64, reset=False))


class AthanorClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """Architecture search for images of classes.

    Images are uint8 (rows, height, width[, 1 or 3]), or other numbers that are whole in 0..255 or
    lie in 0..1. Flat rows of numbers (rows, features) are scaled and made square images.

    Attributes:
        classes_: the labels (classes,), in the order of the probabilities.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # on flat rows: what lies side by side in them means nothing
        tags.classifier_tags.poor_score = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Search, and keep the ensemble.

        Raises:
            ValueError: rows or labels cannot be used, or a parameter breaks a rule.
            RuntimeError: the search failed.
        """
        images = self._fitted_images(X)
        labels = self._answers(y, rows=len(images), dtype=None)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"a classifier needs at least 2 classes, but there is only one class: "
                f"{self.classes_[0]!r}"
            )
        self._learn(images, codes, {"class_names": self.classes_.astype(np.str_)})
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return the probabilities (rows, classes)."""
        images = self._images(X)
        return self.model_.predict_proba(images)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable labels (rows,)."""
        probabilities = self.predict_proba(X)
        labels: NDArray[Any] = self.classes_[probabilities.argmax(1)]
        return labels


class AthanorRegressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """Architecture search for images with a number each; images as for `AthanorClassifier`."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # on flat rows: what lies side by side in them means nothing
        tags.regressor_tags.poor_score = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Search, and keep the ensemble; raises as `AthanorClassifier.fit` does."""
        images = self._fitted_images(X)
        self._learn(images, self._answers(y, rows=len(images), dtype=np.float64), {})
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the numbers (rows,)."""
        images = self._images(X)
        return self.model_.predict(images)


def _images(X: Any) -> NDArray[np.uint8]:
    try:
        return checked_images(np.asarray(X), name="images")
    except DataError as failure:
        raise ValueError(str(failure)) from None


def _in_unit(images: NDArray[Any], *, unit: bool) -> NDArray[Any]:
    """Make sure that numbers are taken as in the training: dark images look as if in 0..1.

    Args:
        unit: whether images were numbers in 0..1 there, not in 0..255.
    """
    if not np.issubdtype(images.dtype, np.floating):
        return images
    if unit and images.max(initial=0.0) > 1.0:
        raise ValueError(f"images must lie in 0..1, as in the training, but reach {images.max():g}")
    if not unit and (images == np.rint(images)).all():
        return images.astype(np.int64)
    return images


def _parted(
    images: NDArray[np.uint8], answers: NDArray[Any], *, classes: bool
) -> list[NDArray[np.int64]]:
    """Return the rows to learn from and those to be set aside, which have some of each class.

    Equal images are on one side.
    """
    same, _ = with_duplicates(None, image_hashes(images))
    image_of_row = np.arange(len(answers)) if same is None else same
    different = np.unique(image_of_row)
    share = HELD_OUT
    if classes:
        share = max(HELD_OUT, len(np.unique(answers)) / len(different))
    try:
        parts = train_test_split(
            different,
            test_size=share,
            random_state=0,
            stratify=answers[different] if classes else None,
        )
    except ValueError as failure:
        raise ValueError(f"there are too few rows to set some aside: {failure}") from None
    return [np.flatnonzero(np.isin(image_of_row, part)) for part in parts]


def _dimensions(X: Any) -> int:
    """Return how many axes rows have; what has a shape is not copied to know it."""
    return len(X.shape) if hasattr(X, "shape") else np.asarray(X).ndim
