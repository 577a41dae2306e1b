"""Predict with one file of an exported folder where Athanor cannot be imported, and measure it.

Run by path, as `python -I -S clean_check.py MODEL REQUEST ANSWER SCRIPT SITE-PACKAGES...`: without
the environment's hooks and paths, so that an editable installation is out of reach as well, and
with a finder before all others that refuses Athanor's packages. MODEL is loaded as the folder's
SCRIPT loads it. The request holds `images`; the answer holds what the model says of them, its
seconds for a batch of 1 and of 64, the process's peak memory and the modules of Athanor that
could be imported all the same.
"""

import importlib
import importlib.machinery
import importlib.util
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGES = ("athanor", "workers", "search", "spaces")
BATCHES = (1, 64)  # images at once, of which the latency is told
MEASURED_SECONDS = 0.3  # for each of them
FEWEST = 5  # passes, however long they take
UNUSABLE = 7  # exit status where the model cannot be used


class Refusing:
    """A finder that refuses Athanor's packages, wherever they lie."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Refuse a name of ours; leave all others to the next finder."""
        if name.partition(".")[0] in PACKAGES:
            raise ModuleNotFoundError(f"{name} is refused", name=name)


def leaks() -> list[str]:
    """Return those of Athanor's packages that this process has, or could import."""
    found = [name for name in sys.modules if name.partition(".")[0] in PACKAGES]
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        found.append(name)
    return found


def seconds_of(predict: Callable[[Any], Any], images: Any) -> float:
    """Return the seconds to predict these images at once: the lower quartile of many passes."""
    predict(images)
    times: list[float] = []
    end = time.perf_counter() + MEASURED_SECONDS
    while len(times) < FEWEST or time.perf_counter() < end:
        begin = time.perf_counter()
        predict(images)
        times.append(time.perf_counter() - begin)
    return sorted(times)[len(times) // 4]


def peak_memory() -> int:
    """Return the most bytes that this process has held at once."""
    status = Path("/proc/self/status")
    if status.exists():  # what `getrusage` says counts the process that started this one
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)


def answer(predict: Callable[[Any], Any], images: Any) -> dict[str, Any]:
    """Return what a model says of uint8 images (rows, height, width, channels), and its costs."""
    import numpy as np

    size = BATCHES[-1]
    said = [predict(images[begin : begin + size]) for begin in range(0, len(images), size)]
    repeated = np.resize(images, (size, *images.shape[1:]))
    latency = [seconds_of(predict, repeated[:batch]) for batch in BATCHES]
    return {
        "predictions": np.concatenate(said),
        "latency": np.array(latency),
        "peak_memory": np.array(peak_memory()),
    }


def loaded(script: Path) -> ModuleType:
    """Return a script as a module."""
    spec = importlib.util.spec_from_file_location("predict", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(arguments: Sequence[str]) -> int:
    """Answer a request; return the exit status."""
    model, request, target, script = (Path(argument) for argument in arguments[:4])
    sys.meta_path.insert(0, Refusing())
    sys.path[:] = [path for path in sys.path if path] + list(arguments[4:])
    import numpy as np

    with np.load(request, allow_pickle=False) as asked:
        images = asked["images"]
    try:
        found = answer(loaded(script).load(model), images)
    except Exception as failure:
        reason = str(failure).strip().splitlines() or ["no message"]
        print(f"{type(failure).__name__}: {reason[0]}", file=sys.stderr)
        return UNUSABLE
    np.savez(target, **found, leaks=np.array(json.dumps(leaks())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
