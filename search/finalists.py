"""Which trials are worth training at length."""

import itertools
import math

from search.attributes import Cost
from search.first_trials import PRIOR, error_of
from search.job import Job
from search.store.records import TrialRecord, pareto_front
from search.store.results import FoldTask

CHALLENGERS = 24  # trials that did not displace the prior: the next one does once in 25 times


def best_trials(
    board: list[TrialRecord],
    *,
    count: int,
    prior: int = PRIOR,
    with_prior: bool,
    validation_rows: int,
) -> list[TrialRecord]:
    """Return the best trials that trained to their end, or the best there are; best first.

    The prior comes first unless another is better than luck makes the best of so many.

    Args:
        board: scored trials, best first.
        prior: number of the prior's trial.
        with_prior: whether the prior, if it trained to its end, is one of them in any case.
        validation_rows: on which each score was measured.
    """
    finished = [record for record in board if record.state == "complete"] or board
    known = _numbered(prior, finished)
    if known is not None and _is_luck(finished[0], known, of=len(board), rows=validation_rows):
        finished = [known, *(record for record in finished if record is not known)]
    best = finished[:count]
    if with_prior and known is not None and known not in best:
        best[-1] = known
    return best


def smallest_within(
    board: list[TrialRecord],
    *,
    cost: Cost,
    errors: float,
    count: int,
    validation_rows: int,
) -> list[TrialRecord]:
    """Return the cheapest trials whose score is within so many standard errors of the best one.

    (L. Breiman et al., "Classification and regression trees", 1984, chose trees by this rule.)

    Args:
        board: scored trials, best first.
        count: how many at most; those of the front of score and cost, the cheapest first.
        validation_rows: on which each score was measured.
    """
    front = pareto_front(board, cost)
    if not front:
        return board[:count]
    best = front[-1]
    assert best.score is not None
    least = best.score - errors * error_of(best, rows=validation_rows)
    return [each for each in front if each.score is not None and each.score >= least][:count]


def spread_over_costs(
    board: list[TrialRecord], *, cost: Cost, count: int, prior: int
) -> list[TrialRecord]:
    """Return finished trials of all costs, the cheapest first: the best of each range of costs.

    Short trainings flatter small networks, which learn faster, so their front is not that of long
    ones: which of them are good enough must be seen in longer trainings.

    Args:
        board: scored trials, best first.
        count: ranges, equal in the cost's logarithm; where one is empty, the best others are taken.
        prior: number of the prior's trial, which is the one of its range.
    """
    known = [r for r in board if r.finished and (r.cost(cost) or 0.0) > 0.0]
    if not known:
        return board[:count]
    logs = {r.number: math.log(r.cost(cost) or 1.0) for r in known}
    low, high = min(logs.values()), max(logs.values())
    width = (high - low) / count or 1.0
    best: dict[int, TrialRecord] = {}
    for record in sorted(known, key=lambda r: r.number != prior):  # the prior, then best first
        best.setdefault(min(int((logs[record.number] - low) / width), count - 1), record)
    networks = {logs[record.number] for record in best.values()}
    others = (r for r in known if logs[r.number] not in networks)  # of a cost of its own
    chosen = [*best.values(), *itertools.islice(others, count - len(best))]
    return sorted(chosen, key=lambda record: (logs[record.number], record.number))


def prior_stands(board: list[TrialRecord], *, prior: int = PRIOR, validation_rows: int) -> bool:
    """Whether the prior has stood against so many trials that one hardly can beat it here.

    The search may end then: its time is better spent on training the prior for longer.
    """
    ended = [record for record in board if not record.open]
    known = _numbered(prior, [record for record in ended if record.state == "complete"])
    if known is None or len(ended) < CHALLENGERS:
        return False
    return _is_luck(ended[0], known, of=len(ended), rows=validation_rows)


def _numbered(number: int, board: list[TrialRecord]) -> TrialRecord | None:
    return next((record for record in board if record.number == number), None)


def _is_luck(best: TrialRecord, known: TrialRecord, *, of: int, rows: int) -> bool:
    """Whether the best of so many trials is not better than a known one but for its errors.

    The largest of n normal errors is about their standard deviation times the root of 2 ln n.
    """
    if best.score is None or known.score is None:
        return False
    luck = error_of(best, rows=rows) * math.sqrt(2.0 * math.log(max(of, 2)))
    return best.score - known.score <= luck


def trained_trials(earlier: Job, done: list[FoldTask], *, final: str | None) -> list[int]:
    """Return the trials of these folds, those that weigh most in the job's ensemble first.

    To be refitted, only those that have a weight.
    """
    assert earlier.result is not None
    weights = {each["trial"]: each["weight"] for each in earlier.result["members"]}
    trials = dict.fromkeys(task.trial for task in done)
    ordered = sorted(trials, key=lambda trial: -weights.get(trial, 0.0))
    return [trial for trial in ordered if final != "refit" or weights.get(trial, 0.0) > 0.0]
