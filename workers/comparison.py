"""Do a folder's graphs say what its float32 networks say? Each is asked in a clean process."""

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.machine import usable_cores
from spaces.errors import JobFailed
from workers import clean_check, standalone
from workers.model_folder import Manifest
from workers.samples import Samples
from workers.standalone import INT8
from workers.verification import TOLERANCE, run_apart

PACKAGE_FOLDERS = ("site-packages", "dist-packages")  # of an environment, a system, a person
INT8_DROP = 0.005  # of the accuracy, at most
INT8_ERRORS = 2.0  # standard errors of a difference that few images cannot tell from none
ROUNDING = 1e-9  # of a difference of two shares
INT8_RMSE = 1.05  # times that of the float32 networks, at most, where numbers are predicted
CLEAN = (
    "python -I -S with the environment's packages appended to its path and a finder before all "
    "others that refuses athanor, workers, search and spaces"
)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model said in a process of its own, and what that cost.

    Attributes:
        predictions: (rows, classes or 1).
        latency: seconds for a batch of 1 and of 64 images.
        peak_memory: bytes of the process at most.
    """

    predictions: NDArray[Any]
    latency: tuple[float, float]
    peak_memory: int

    def costs(self) -> dict[str, Any]:
        """Return latency and memory by name, as JSON."""
        names = (f"latency_{batch}" for batch in clean_check.BATCHES)
        costs: dict[str, Any] = dict(zip(names, self.latency, strict=True))
        return {**costs, "peak_memory": self.peak_memory}


def eager_answer(folder: Path, images: NDArray[np.uint8]) -> Answer:
    """Ask a folder's float32 networks, loaded by Athanor in a new process."""
    return _ask(["-P", "-m", "workers.eager_check", folder], images, [])


def clean_answer(model: Path, images: NDArray[np.uint8]) -> Answer:
    """Ask a graph of a folder in a process that cannot import Athanor.

    It is loaded as `predict.py` loads it, but by our own copy of that script: the folder's may be
    anybody's.
    """
    packages = [path for path in sys.path if Path(path).name in PACKAGE_FOLDERS]
    script = Path(standalone.__file__)
    start: list[str | Path] = ["-I", "-S", Path(clean_check.__file__), model]
    return _ask(start, images, [script, *packages])


def _ask(
    start: Sequence[str | Path], images: NDArray[np.uint8], more: Sequence[str | Path]
) -> Answer:
    with tempfile.TemporaryDirectory(prefix="athanor-") as name:
        request, target = Path(name) / "request.npz", Path(name) / "answer.npz"
        np.savez(request, images=images)
        command = [sys.executable, *start, request, target, *more]
        status, messages = run_apart(command, threads=usable_cores())
        if status:
            last = (messages.strip().splitlines() or ["no message"])[-1]
            raise JobFailed(f"{start[-1]} could not be used in a clean process: {last}")
        with np.load(target, allow_pickle=False) as found:
            reachable = json.loads(str(found["leaks"])) if "leaks" in found else []
            if reachable:
                raise JobFailed(f"a clean process must not import {', '.join(reachable)}, but can")
            first, second = (float(seconds) for seconds in found["latency"])
            return Answer(found["predictions"], (first, second), int(found["peak_memory"]))


def unit_of(manifest: Manifest) -> float | None:
    """Return the deviation of the numbers that a model predicts; None: it predicts classes."""
    scale = manifest.networks[0].scale
    return None if scale is None else scale.std


def compared(file: str, found: Answer, samples: Samples, *, unit: float | None) -> dict[str, Any]:
    """Return how a graph's predictions differ from the float32 networks', for `verification.json`.

    Args:
        unit: of numbers, by which their differences are divided; None: classes are predicted.

    Raises:
        JobFailed: they differ by more than is allowed; the message tells by how much.
    """
    expected = samples.predictions.astype(np.float64)
    difference = float(np.abs(found.predictions - expected).max())
    if unit is None:
        right = found.predictions.argmax(1) == samples.labels
        before = expected.argmax(1) == samples.labels
        told = {
            "max_difference": difference,
            "accuracy_drop": float(before.mean() - right.mean()),
            "same_class": float((found.predictions.argmax(1) == expected.argmax(1)).mean()),
        }
        if file == INT8:
            _check_drop(told, changed=int((right != before).sum()), rows=len(right))
    else:
        difference /= unit
        squares = [_squares(each, samples.labels) for each in (found.predictions, expected)]
        rmse, before_rmse = (float(np.sqrt(each.mean())) for each in squares)
        told = {"max_difference": difference, "rmse": rmse, "rmse_before": before_rmse}
        if file == INT8:
            _check_rmse(rmse, before_rmse, change=squares[0] - squares[1])
    if file != INT8 and not difference <= TOLERANCE:
        raise JobFailed(
            f"{file} must predict as the float32 networks did to {TOLERANCE:g}, "
            f"but a prediction differs by {difference:.3g}"
        )
    return told


def _check_drop(told: dict[str, float], *, changed: int, rows: int) -> None:
    """Of few images a flip or two say nothing: their number's standard error is allowed as well."""
    allowed = max(INT8_DROP, INT8_ERRORS * changed**0.5 / rows)
    if told["accuracy_drop"] > allowed + ROUNDING:
        raise JobFailed(
            f"{INT8} must lose at most {100 * allowed:.2g} points of accuracy, "
            f"but loses {100 * told['accuracy_drop']:.2g} on {rows:,} images"
        )


def _check_rmse(rmse: float, before: float, *, change: NDArray[np.float64]) -> None:
    """Few images say little: the standard error of what changed (rows,) is allowed as well."""
    error = float(change.std()) / len(change) ** 0.5 / (2.0 * before or 1.0)
    allowed = INT8_RMSE * before + INT8_ERRORS * error
    if not rmse <= allowed:
        raise JobFailed(
            f"{INT8} must have an RMSE of at most {allowed:.4g}, {INT8_RMSE:g} times the float32 "
            f"networks' {before:.4g} and what few images allow, but has {rmse:.4g}"
        )


def _squares(predictions: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = np.square(predictions[:, 0].astype(np.float64) - labels)
    return squares


def compare_all(
    folder: Path,
    samples: Samples,
    *,
    files: Sequence[str],
    unit: float | None,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Compare these graphs of a folder; return what was found, by file.

    Raises:
        JobFailed: one cannot be used in a clean process, or differs by more than is allowed.
    """
    found = {}
    for file in files:
        tell(f"verifying {file} in a clean process")
        answer = clean_answer(folder / file, samples.images)
        told = compared(file, answer, samples, unit=unit)
        found[file] = {"bytes": (folder / file).stat().st_size, **told, **answer.costs()}
    return found
