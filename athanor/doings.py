"""What a worker is doing, and how a search has climbed, in a few words or numbers."""

from collections.abc import Iterable, Sequence

from search.store import TrialRecord, WorkerRecord

DOING = {
    "trials": "choosing a trial",
    "prepare": "looking at data and host",
    "assemble": "building and verifying the ensemble",
}


def doing_text(worker: WorkerRecord) -> str:
    """Say what a worker does, from the key of the lease that it holds."""
    if worker.doing is None:
        return "between two tasks" if worker.job_id else "waiting for work"
    kind, *more = worker.doing.split("/")[1:]
    if kind == "trial":
        return f"trial {more[0]}"
    if kind == "fold":
        return f"trial {more[0]}, fold {more[1]}"
    if kind == "baseline":
        return f"baseline {more[0]}"
    return DOING.get(kind, kind)


def climb(trials: Iterable[TrialRecord]) -> list[float]:
    """Return the best score so far after each trial that had one, by number."""
    best, found = float("-inf"), []
    for record in trials:
        if record.score is not None:
            best = max(best, record.score)
            found.append(best)
    return found


def spread(values: Sequence[float], most: int) -> Sequence[float]:
    """Return at most so many of the values, evenly picked, both ends among them."""
    count = min(most, len(values))
    if count < 2:
        return values[:count]
    return [values[round(place * (len(values) - 1) / (count - 1))] for place in range(count)]
