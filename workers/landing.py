"""Which trials are finalists, which of them race, and who takes the place of those that fail."""

from search.attributes import Cost
from search.finalists import (
    best_trials,
    prior_stands,
    smallest_within,
    spread_over_costs,
)
from search.race import Race, Thrift
from search.store import FoldTask, TrialRecord
from spaces.errors import JobFailed
from workers.contenders import contenders
from workers.workbench import Workbench

MOST_SUBSTITUTES = 3  # for finalists whose trainings all fail


def choose_finalists(bench: Workbench) -> list[TrialRecord]:
    """Return the job's finalists, best first, or the cheapest of them where a cost is to be small.

    A prior that stands need not race.

    Raises:
        JobFailed: no trial of the search has a score.
    """
    board, prior = contenders(bench)
    if not board:
        raise JobFailed("the search must end with a scored trial, but none finished an epoch")
    plan, rows = bench.plan, bench.plan.validation_rows
    spec = bench.job.spec
    if spec.minimize is not None and plan.races:
        return spread_over_costs(board, cost=spec.minimize, count=plan.finalists, prior=prior)
    if spec.minimize is not None:
        return smallest_within(
            board,
            cost=spec.minimize,
            errors=spec.tolerance,
            count=plan.finalists,
            validation_rows=rows,
        )
    races = plan.races and not prior_stands(board, prior=prior, validation_rows=rows)
    return best_trials(
        board,
        count=plan.finalists if races else plan.survivors,
        prior=prior,
        with_prior=races,
        validation_rows=rows,
    )


def substitute(bench: Workbench, tasks: list[FoldTask]) -> TrialRecord | None:
    """Return who is trained when no finalist could be: the best other trial; None if one could.

    Nor after `MOST_SUBSTITUTES` in vain, nor where the finalists were named by an earlier job.
    """
    tried = {task.trial for task in tasks}
    hope = any(task.may_judge for task in tasks)
    if hope or bench.job.spec.lands is not None:
        return None
    if len(tried) >= len(choose_finalists(bench)) + MOST_SUBSTITUTES:
        return None
    board, _ = contenders(bench)
    others = (each for each in board if each.state == "complete" and each.number not in tried)
    return next(others, None)


def race_of(bench: Workbench, tasks: list[FoldTask]) -> Race:
    """Return the race of a job's finalists, by accuracy or for the cheapest near the best."""
    cost = bench.job.spec.minimize
    thrift = None
    if cost is not None:
        prices = {record.number: record.cost(cost) for record in bench.trials.records()}
        costs = {number: price for number, price in prices.items() if price is not None}
        thrift = Thrift(
            costs=costs, tolerance=bench.job.spec.tolerance, searched=_by_thrift(bench, cost)
        )
    return Race(tasks, survivors=bench.plan.survivors, thrift=thrift)


def _by_thrift(bench: Workbench, cost: Cost) -> list[int]:
    """Return the search's trials, the cheapest that are near its best first, then the best."""
    board, _ = contenders(bench)
    near = smallest_within(
        board,
        cost=cost,
        errors=bench.job.spec.tolerance,
        count=len(board),
        validation_rows=bench.plan.validation_rows,
    )
    return list(dict.fromkeys(record.number for record in (*near, *board)))
