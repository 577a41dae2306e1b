"""`athanor predict`: classes and probabilities, or numbers, for files, arrays or a test set."""

import csv
import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from search.job import usable_cores
from search.metrics import METRICS, MetricName, accuracy
from search.numbers import is_numbers
from search.predictions import accuracy_interval
from search.sources import NAMED_SOURCES
from spaces.errors import DataError, InputError
from workers.data import load_data
from workers.environment import thread_environment
from workers.files import write_atomically
from workers.npz import read_images

SUFFIXES = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG")
MAX_PIXELS = 50_000_000


@dataclass(frozen=True, slots=True)
class Inputs:
    """What to predict: uint8 images (rows, height, width, channels), names, labels if known."""

    images: NDArray[np.uint8]
    names: list[str]
    labels: NDArray[Any] | None


def read_inputs(sources: list[str], *, image_shape: tuple[int, int, int], cache: Path) -> Inputs:
    """Read image files, one `.npz`, or the test images of a data set known by name.

    Raises:
        InputError: kinds are mixed, or a file cannot be read as what it is called.
    """
    if len(sources) == 1 and sources[0] in NAMED_SOURCES:
        data = load_data(sources[0], cache=cache)
        return _named(data.test_images, data.test_labels, f"{data.name}/test")
    if len(sources) == 1 and sources[0].endswith(".npz"):
        images, labels = read_images(Path(sources[0]))
        return _named(images, labels, Path(sources[0]).name)
    others = [source for source in sources if not source.lower().endswith(SUFFIXES)]
    if others:
        raise InputError(
            f"inputs must be PNG or JPEG files, one .npz file, or one of "
            f"{', '.join(NAMED_SOURCES)}, but got {others[0]}"
        )
    images = np.stack([read_image(Path(source), image_shape=image_shape) for source in sources])
    return Inputs(images=images, names=sources, labels=None)


def _named(images: NDArray[np.uint8], labels: NDArray[Any] | None, name: str) -> Inputs:
    return Inputs(
        images=images, names=[f"{name}/{row}" for row in range(len(images))], labels=labels
    )


def read_image(path: Path, *, image_shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Read one PNG or JPEG file as the model expects it; another size is resized (bilinear).

    Raises:
        DataError: the file is missing, of another format, too large or broken.
    """
    height, width, channels = image_shape
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"an image must have at most {MAX_PIXELS:,} pixels, "
                    f"but {path} has {image.width * image.height:,}"
                )
            converted = image.convert("L" if channels == 1 else "RGB")
            if converted.size != (width, height):
                converted = converted.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(converted, dtype=np.uint8)
    except FileNotFoundError:
        raise DataError(f"{path} must be an image file, but there is none") from None
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as failure:
        raise DataError(f"{path} must be a whole PNG or JPEG image: {failure}") from None
    return pixels.reshape(height, width, channels)


def predictions_csv(
    names: list[str], probabilities: NDArray[np.float32], class_names: tuple[str, ...]
) -> str:
    """Write a row an image: its name, its class, that class's probability, then all of them.

    Without classes, its name and its number.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if not class_names:
        writer.writerow(["image", "value"])
        rows = zip(names, probabilities[:, 0], strict=True)
        writer.writerows((name, f"{value:.10g}") for name, value in rows)
        return text.getvalue()
    writer.writerow(["image", "class", "probability", *class_names])
    for name, row in zip(names, probabilities, strict=True):
        best = int(row.argmax())
        values = [f"{value:.6f}" for value in row]
        writer.writerow([name, class_names[best], values[best], *values])
    return text.getvalue()


def predictions_json(
    names: list[str], probabilities: NDArray[np.float32], class_names: tuple[str, ...]
) -> list[dict[str, object]]:
    """Return the same as JSON."""
    if not class_names:
        rows = zip(names, probabilities[:, 0], strict=True)
        return [{"image": name, "value": float(value)} for name, value in rows]
    return [
        {
            "image": name,
            "class": class_names[int(row.argmax())],
            "probability": round(float(row.max()), 6),
            "probabilities": {c: round(float(p), 6) for c, p in zip(class_names, row, strict=True)},
        }
        for name, row in zip(names, probabilities, strict=True)
    ]


def run_predict(
    folder: Path, sources: list[str], *, out: Path | None, as_json: bool, cache: Path
) -> None:
    """Predict and print, or write to `out`; say the accuracy where labels are known."""
    os.environ.update(thread_environment(usable_cores()))  # before torch reads it
    from workers.model_folder import load_model

    model = load_model(folder)
    inputs = read_inputs(sources, image_shape=model.manifest.image_shape, cache=cache)
    names = model.manifest.class_names
    predictions = model.predict(inputs.images)
    found = {} if inputs.labels is None else scores(inputs.labels, predictions, classes=names)
    if as_json:
        rows = predictions_json(inputs.names, predictions, names)
        told = found or dict.fromkeys(("accuracy",) if names else ("rmse", "mae"))
        text = json.dumps({"rows": len(rows), **told, "predictions": rows}) + "\n"
    else:
        text = predictions_csv(inputs.names, predictions, names)
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomically(out.absolute(), text.encode())
    if "accuracy" in found:
        total = len(inputs.names)
        correct = round(found["accuracy"] * total)
        low, high = accuracy_interval(correct, total)
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
