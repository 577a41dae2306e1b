"""What Athanor writes into a trial's attributes, by key, and how samplers and pruners read it."""

from typing import Literal

from optuna.trial import FrozenTrial

Cost = Literal["parameters", "macs", "latency"]

CANDIDATE = "athanor:candidate"
BASELINE = "athanor:baseline:"  # of the study, followed by the name
COSTS = "athanor:costs"  # of the network, by name
CURVE = "athanor:curve"  # score by epoch, where Optuna keeps none: with two objectives
DRAWS = "athanor:draws"  # scores of rows drawn again, as `search.draws` writes them
ERROR = "athanor:error"  # standard error of the score
ENDED = "athanor:ended"
FILES = "athanor:files"
JOULES = "athanor:joules:"  # of the study, followed by the job that took them
NOTE = "athanor:note"
PACE = "athanor:pace"
RIGHT = "athanor:right"  # which validation images, as `search.marks` writes them
MEMORY, MEMORY_MET = "memory", "memory, measured"  # constraints: as it was counted, as it was met
RUNG = "athanor:rung"  # where it was judged: the epoch, and the standard error of its score there
SECONDS = "athanor:seconds"
VERDICT = "athanor:verdict"  # on which epoch the trial was judged last, and whether to stop


def curve_of(trial: FrozenTrial) -> dict[int, float]:
    """Return a trial's scores by epoch, ascending."""
    kept = trial.user_attrs.get(CURVE)
    curve = trial.intermediate_values if kept is None else kept
    return {int(epoch): float(curve[epoch]) for epoch in sorted(curve, key=int)}


def cost_of(trial: FrozenTrial, name: Cost) -> float | None:
    """Return what a trial's network costs, if that is known yet."""
    cost: float | None = trial.user_attrs.get(COSTS, {}).get(name)
    return cost
