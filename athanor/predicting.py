"""`athanor predict`: classes and probabilities, or numbers, for files, arrays or a test set."""

import csv
import io
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from athanor.inputs import Inputs, labels_of_model, opened_inputs
from athanor.places import Places
from athanor.seal import may_tell
from search.machine import usable_cores
from search.metrics import METRICS, MetricName, accuracy
from search.numbers import is_numbers
from search.predictions import share_interval
from search.sources import ImageOptions
from spaces.errors import DataError
from workers.environment import thread_environment
from workers.files import write_atomically

TOP_COLUMNS = ("class", "probability")
AT_ONCE = 4096  # images that are predicted between two lines of progress
SAID_SECONDS = 5.0
SKIPPED_SHOWN = 20


def predictions_csv(
    names: list[str],
    probabilities: NDArray[np.float32],
    class_names: tuple[str, ...],
    *,
    top: int | None = None,
) -> str:
    """Write a row an image: its name, its class, that class's probability, then all of them.

    With `top`, its name, then so many classes with their probabilities, the most probable first;
    without classes, its name and its number.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if not class_names:
        writer.writerow(["image", "value"])
        rows = zip(names, probabilities[:, 0], strict=True)
        writer.writerows((name, f"{value:.10g}") for name, value in rows)
        return text.getvalue()
    if top is not None:
        places = range(1, min(top, len(class_names)) + 1)
        writer.writerow(["image", *(f"{what}_{n}" for n in places for what in TOP_COLUMNS)])
        for name, row in zip(names, probabilities, strict=True):
            told = [(class_names[k], f"{row[k]:.6f}") for k in _best(row, top)]
            writer.writerow([name, *(each for pair in told for each in pair)])
        return text.getvalue()
    writer.writerow(["image", "class", "probability", *class_names])
    for name, row in zip(names, probabilities, strict=True):
        best = int(row.argmax())
        values = [f"{value:.6f}" for value in row]
        writer.writerow([name, class_names[best], values[best], *values])
    return text.getvalue()


def _best(row: NDArray[np.float32], top: int) -> NDArray[np.int64]:
    best: NDArray[np.int64] = np.argsort(-row, kind="stable")[:top]
    return best


def predictions_json(
    names: list[str],
    probabilities: NDArray[np.float32],
    class_names: tuple[str, ...],
    *,
    top: int | None = None,
) -> list[dict[str, object]]:
    """Return the same as JSON; with `top`, so many probabilities, the largest first."""
    if not class_names:
        rows = zip(names, probabilities[:, 0], strict=True)
        return [{"image": name, "value": float(value)} for name, value in rows]
    return [
        {
            "image": name,
            "class": class_names[int(row.argmax())],
            "probability": round(float(row.max()), 6),
            "probabilities": {
                class_names[k]: round(float(row[k]), 6)
                for k in (range(len(row)) if top is None else _best(row, top))
            },
        }
        for name, row in zip(names, probabilities, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """How predictions are told.

    Attributes:
        out: a file to write to.
        top: how many classes of each image; None: all.
        of_test: the test images of a data set are predicted, whatever form it has.
        reopen_test: tell the score also on test rows that others have opened before.
    """

    places: Places
    out: Path | None
    as_json: bool
    top: int | None
    images: ImageOptions
    of_test: bool
    reopen_test: bool


def run_predict(folder: Path, sources: list[str], options: PredictOptions) -> None:
    """Predict and print, or write to a file; say the accuracy where labels are known.

    Not on test rows that another model has been tested on, unless that is asked for.
    """
    os.environ.update(thread_environment(usable_cores()))  # before torch reads it
    from workers.model_folder import load_model

    model = load_model(folder)
    names = model.manifest.class_names
    with opened_inputs(
        sources,
        options.images,
        of_test=options.of_test,
        image_shape=model.manifest.image_shape,
        cache=options.places.cache,
        progress=_tell,
    ) as inputs:
        predictions = _in_parts(model.predict, inputs.images)
    _tell_skipped(inputs)
    labels = labels_of_model(inputs, names, progress=_tell)
    found: dict[str, float] = {}
    if labels is not None:
        found = scores(labels, predictions, classes=names)
        metric: MetricName = "accuracy" if names else model.manifest.protocol["metric"]
        known = may_tell(
            inputs,
            METRICS[metric].score(labels, predictions),
            manifest=model.manifest,
            places=options.places,
            reopen=options.reopen_test,
            progress=_tell,
        )
        found = found if known else {}
    if options.as_json:
        rows = predictions_json(inputs.names, predictions, names, top=options.top)
        told = found or dict.fromkeys(("accuracy",) if names else ("rmse", "mae"))
        skipped = [{"image": name, "reason": reason} for name, reason in inputs.skipped]
        answer = {"rows": len(rows), **told, "skipped": skipped, "predictions": rows}
        text = json.dumps(answer) + "\n"
    else:
        text = predictions_csv(inputs.names, predictions, names, top=options.top)
    if options.out is None:
        sys.stdout.write(text)
    else:
        write_atomically(options.out.absolute(), text.encode())
    tested = inputs.rows is not None and (
        inputs.rows.fingerprint == model.manifest.protocol["test_fingerprint"]
    )
    effect = model.manifest.scores.get("design_effect", 1.0) if tested else 1.0
    _tell_scores(found, len(inputs.names), effect=effect)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _in_parts(
    predict: Callable[[NDArray[np.uint8]], NDArray[Any]], images: NDArray[np.uint8]
) -> NDArray[Any]:
    """Predict some images after the others, telling now and then how far it is."""
    said, parts = time.monotonic(), []
    for begin in range(0, len(images), AT_ONCE):
        parts.append(predict(images[begin : begin + AT_ONCE]))
        if time.monotonic() - said > SAID_SECONDS:
            said = time.monotonic()
            _tell(f"predicted {begin + len(parts[-1]):,} of {len(images):,} images")
    return np.concatenate(parts)


def _tell_skipped(inputs: Inputs) -> None:
    for name, reason in inputs.skipped[:SKIPPED_SHOWN]:
        _tell(f"skipped {name}: {reason}")
    if len(inputs.skipped) > SKIPPED_SHOWN:
        _tell(f"skipped {len(inputs.skipped) - SKIPPED_SHOWN:,} more")


def _tell_scores(found: dict[str, float], total: int, *, effect: float) -> None:
    """Say the accuracy, or the errors of numbers, of so many images.

    Args:
        effect: of groups, by which they are fewer than they seem.
    """
    if "accuracy" in found:
        correct = round(found["accuracy"] * total)
        low, high = share_interval(correct / total, rows=total / effect)
        print(
            f"accuracy {found['accuracy']:.4f} ({correct} of {total}, "
            f"95 % interval {low:.4f} to {high:.4f})",
            file=sys.stderr,
        )
    elif found:
        print(f"RMSE {found['rmse']:.6g}, MAE {found['mae']:.6g}", file=sys.stderr)


def scores(
    labels: NDArray[Any], predictions: NDArray[np.float32], *, classes: tuple[str, ...]
) -> dict[str, float]:
    """Return the accuracy, or the errors of numbers.

    Raises:
        DataError: the labels are of another kind than the predictions.
    """
    if is_numbers(labels) == bool(classes):
        kinds = ("labels of classes", "numbers")
        wanted, got = kinds if classes else kinds[::-1]
        raise DataError(f"the model predicts {wanted}, but the file has {got}")
    if classes:
        return {"accuracy": accuracy(labels, predictions)}
    errors: tuple[MetricName, ...] = ("rmse", "mae")
    return {name: -METRICS[name].score(labels, predictions) for name in errors}
