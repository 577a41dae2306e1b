"""One network of a model, shown: its first filters, an image on its way, where it sees a class."""

import numpy as np
from numpy.typing import NDArray

from athanor.report.encoding import Picture, Row, filter_pixels, map_pixels, picture, veiled
from athanor.report.reading import Source
from athanor.report.values import Report
from search.folds import JUDGING_FOLD
from search.store import FoldTask
from spaces.errors import StoreError
from workers.judged_rows import open_job
from workers.out_of_fold import fold_files, saved_predictions

MAPS = 8  # of each part
FILTERS = 32


class ShownNetwork:
    """The heaviest member's network of one fold, and the rows that it has left out."""

    def __init__(self, source: Source, report: Report) -> None:
        from workers.explanation import load_trained  # loads torch

        assert source.data is not None and report.winner is not None
        task = _shown(source.progress.folds, trial=report.winner.trial)
        opened = open_job(source.job, files=source.files, data=source.data)
        self._data, self._rows = source.data, opened.folds.folds[task.fold].validation_rows
        self._targets = source.data.train_labels[self._rows]
        self._said = saved_predictions(opened, task)
        self._trained = load_trained(
            fold_files(opened, task),
            channels=source.data.image_shape[2],
            classes=source.data.classes,
        )
        self.words = (
            f"the network of trial {task.trial} that was trained without fold {task.fold}; the "
            "images are of that fold"
        )

    def filters(self) -> tuple[Picture, ...]:
        """Return the first convolution's filters, each in its own scale."""
        from workers.explanation import first_filters

        weights = first_filters(self._trained.network)[:FILTERS]
        return tuple(
            picture(filter_pixels(each), f"{number}") for number, each in enumerate(weights)
        )

    def maps(self) -> tuple[Row, ...]:
        """Return one image, and of each part the maps that vary most over it."""
        from workers.explanation import feature_maps

        place = self._surest()[0]
        image = self._image(place)
        rows = [Row("image", (picture(image, self._name(self._targets[place])),))]
        for found in feature_maps(self._trained, image):
            order = np.argsort(-found.maps.std((1, 2)), kind="stable")[:MAPS]
            height, width = found.maps.shape[1:]
            pictures = tuple(picture(map_pixels(found.maps[n]), f"channel {n}") for n in order)
            title = f"{found.part}: {len(found.maps)} maps of {height}x{width}"
            rows.append(Row(title, pictures))
        return tuple(rows)

    def seen(self, *, right: bool, most: int) -> tuple[Row, ...]:
        """Return images with what speaks for their classes, and for those they are taken for."""
        from workers.explanation import class_maps

        places = self._surest()[:most] if right else self._worst()[:most]
        if self._data.task == "regression" or not len(places):
            return ()
        images = np.stack([self._image(place) for place in places])
        said, targets = self._said[places].argmax(1), self._targets[places]
        of_said = class_maps(self._trained, images, said)
        of_targets = class_maps(self._trained, images, targets)
        rows = []
        for n, image in enumerate(images):
            own, other = self._name(targets[n]), self._name(said[n])
            pictures = [picture(image, own), picture(veiled(image, of_said[n]), f"for {other}")]
            if not right:
                pictures.append(picture(veiled(image, of_targets[n]), f"for {own}"))
            title = own if right else f"{own}, taken for {other}"
            rows.append(Row(title, tuple(pictures)))
        return tuple(rows)

    def _surest(self) -> NDArray[np.intp]:
        """Return right predictions, the surest of each class, the classes in turn.

        Of numbers, or where nothing is right, all predictions, the nearest first.
        """
        wrong = self._errors()
        right = np.flatnonzero(wrong == 0.0)
        if self._data.task == "regression" or not len(right):
            return np.argsort(wrong, kind="stable")
        order = right[np.argsort(-self._said[right].max(1), kind="stable")]
        turn = np.empty(len(order), dtype=np.int64)
        for label in np.unique(self._targets):
            of_class = self._targets[order] == label
            turn[of_class] = np.arange(of_class.sum())
        return order[np.lexsort((self._targets[order], turn))]

    def _worst(self) -> NDArray[np.intp]:
        """Return wrong predictions, those first that are furthest off."""
        wrong = self._errors()
        return np.argsort(-wrong, kind="stable")[: np.count_nonzero(wrong)]

    def _errors(self) -> NDArray[np.float64]:
        """Return how much more another class is given than the true one; how far numbers are."""
        if self._data.task == "regression":
            errors: NDArray[np.float64] = np.abs(self._said[:, 0] - self._targets)
            return errors
        given = self._said[np.arange(len(self._said)), self._targets]
        lead: NDArray[np.float64] = (self._said.max(1) - given).astype(np.float64)
        return lead

    def _image(self, place: int) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = self._data.train_images[self._rows[place]]
        return image

    def _name(self, answer: float) -> str:
        names = self._data.class_names
        return names[int(answer)] if names else f"{answer:.4g}"


def _shown(tasks: list[FoldTask], *, trial: int) -> FoldTask:
    for task in tasks:
        if task.done and task.trial == trial and task.fold > JUDGING_FOLD:
            return task
    raise StoreError(f"trial {trial} must have a network of a fold, but has none")
