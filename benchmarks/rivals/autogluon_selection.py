"""AutoGluon's own ensemble selection, run in its environment on the problems of a folder.

    python autogluon_selection.py FOLDER REPEATS

Each `.npz` holds `probabilities` (models, rows, classes), `targets` (rows,) and the name of a
metric. Prints one JSON object a problem: its name, the models' weights with ties broken as
AutoGluon does by default and by its second metric, and the least seconds of so many repeats.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from autogluon.core.metrics import get_metric
from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection

ROUNDS = 25
METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "macro_f1": "f1_macro",
    "log_loss": "log_loss",
}


def select(arrays: dict[str, Any], *, tie_breaker: str) -> tuple[Any, float]:
    """Return a fitted selection, and its seconds."""
    selection = EnsembleSelection(
        ensemble_size=ROUNDS,
        problem_type="multiclass",
        metric=get_metric(METRICS[str(arrays["metric"])], problem_type="multiclass"),
        tie_breaker=tie_breaker,
        random_state=np.random.RandomState(0),
    )
    predictions = list(arrays["probabilities"])
    begin = time.perf_counter()
    selection.fit(predictions, arrays["targets"])
    return selection, time.perf_counter() - begin


def main() -> None:
    """Solve all problems of the folder."""
    folder, repeats = Path(sys.argv[1]), int(sys.argv[2])
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        by_chance, _ = select(arrays, tie_breaker="random")
        runs = [select(arrays, tie_breaker="second_metric") for _ in range(repeats)]
        found = {
            "problem": path.stem,
            "weights": runs[0][0].weights_.tolist(),
            "weights_by_chance": by_chance.weights_.tolist(),
            "seconds": min(seconds for _, seconds in runs),
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
