"""Load a model folder in a process of its own and let it predict, as its user will.

Run as `python -m workers.verification FOLDER REQUEST ANSWER`. The request holds images and
no labels: `sample` with the probabilities `expected` of every network, and `test`. The
answer holds how far the networks are from what was expected, and the ensemble's
probabilities for the test images.
"""

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaces.errors import AthanorError, JobFailed
from workers.environment import thread_environment

UNUSABLE = 7  # exit status of a verification that could not use the folder
POLL_SECONDS = 0.2  # between two looks whether the verification must stop
TOLERANCE = 1e-4  # largest difference of a probability between training and the loaded folder


@dataclass(frozen=True, slots=True)
class Sample:
    """Images, and what each network of the folder gave for them when it was trained.

    Attributes:
        images: uint8 (networks, rows, height, width, channels).
        expected: float32 (networks, rows, classes).
    """

    images: NDArray[np.uint8]
    expected: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TestPredictions:
    """What a folder says of the test images.

    Attributes:
        together: (rows, classes or 1), the ensemble's.
        each: (networks, rows, classes or 1), each network's.
    """

    __test__ = False  # not a test class, whatever its name

    together: NDArray[Any]
    each: NDArray[Any]


def verify_and_predict(
    folder: Path,
    *,
    sample: Sample,
    test_images: NDArray[np.uint8],
    threads: int,
    interrupt: Callable[[], None],
) -> TestPredictions:
    """Return the folder's predictions for the test images, from a new process.

    Args:
        interrupt: called now and then; what it raises ends the process.

    Raises:
        JobFailed: the folder does not load there, or predicts otherwise than in training.
        RuntimeError: the process died of something else, such as a signal or a full disk.
    """
    request, answer = (
        folder.parent / f"{folder.name}.request.npz",
        folder.parent / (f"{folder.name}.answer.npz"),
    )
    try:
        np.savez(request, sample=sample.images, expected=sample.expected, test=test_images)
        status, messages = run_apart(
            [sys.executable, "-P", "-m", "workers.verification", folder, request, answer],
            threads=threads,
            interrupt=interrupt,
        )
        last = (messages.strip().splitlines() or ["no message"])[-1]
        if status == UNUSABLE:
            raise JobFailed(f"the model folder could not be loaded in a new process: {last}")
        if status:
            raise RuntimeError(f"the verification ended with status {status}: {last}")
        with np.load(answer, allow_pickle=False) as result:
            difference = float(result["difference"])
            predictions = TestPredictions(result["probabilities"], result["each"])
    finally:
        request.unlink(missing_ok=True)
        answer.unlink(missing_ok=True)
    if not difference <= TOLERANCE:
        raise JobFailed(
            f"a loaded network must predict as in training to {TOLERANCE:g}, "
            f"but a prediction differs by {difference:.3g}"
        )
    return predictions


def run_apart(
    command: list[str | Path], *, threads: int, interrupt: Callable[[], None] = lambda: None
) -> tuple[int, str]:
    """Return a process's exit status and messages, unless it has to be killed."""
    with subprocess.Popen(
        command,
        env=thread_environment(threads),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while True:
                interrupt()
                with suppress(subprocess.TimeoutExpired):
                    _, messages = process.communicate(timeout=POLL_SECONDS)
                    return process.returncode, messages
        except BaseException:
            process.kill()
            raise


def _answer(folder: Path, request: Path, answer: Path) -> None:
    from workers.model_folder import load_model

    model = load_model(folder)
    with np.load(request, allow_pickle=False) as asked:
        samples, expected, test = asked["sample"], asked["expected"], asked["test"]
    difference = 0.0
    for index, (images, wanted) in enumerate(zip(samples, expected, strict=True)):
        got = model.predict_one(index, images)
        scale = model.manifest.networks[index].scale
        unit = 1.0 if scale is None else scale.std
        difference = max(difference, float(np.abs(got - wanted).max()) / unit)
    each = [model.predict_one(index, test) for index in range(len(model.networks))]
    np.savez(answer, difference=difference, probabilities=model.combined(each), each=np.stack(each))


def main(arguments: list[str]) -> int:
    """Answer a request; return the exit status."""
    try:
        _answer(*(Path(argument) for argument in arguments))
    except AthanorError as failure:
        print(failure, file=sys.stderr)
        return UNUSABLE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:4]))
