"""When a search ends: as planned, or earlier where its finalists would be hardly trained."""

import math

from search.plan import FEWEST_EPOCHS
from workers.finalist import EXACT_COST, OVERHEAD
from workers.landing_time import ASSEMBLY_SECONDS, judging_rows, scoring_seconds
from workers.workbench import Workbench


def search_end(bench: Workbench) -> float | None:
    """Return the second of the job's clock at which no further trial starts; None: no limit.

    The plan was made with what a probe had measured. By the pace that the best trial has shown, the
    landing must have time for each of its networks to see its rows as often as the largest network
    that the plan allows does at least, and for what comes after the folds.
    """
    planned, budget = bench.plan.search_seconds, bench.job.spec.budget
    best = next(iter(bench.trials.leaderboard()), None)
    if planned is None or budget is None or best is None or best.train_pace is None:
        return planned
    plan, rows = bench.plan, len(bench.data.train_labels)
    trainings = plan.survivors * (plan.folds + plan.refit)
    judged = judging_rows(bench) / plan.folds
    exact = EXACT_COST * (best.predict_pace or best.train_pace)
    each = FEWEST_EPOCHS * (rows - judged) * best.train_pace + OVERHEAD + judged * exact
    verifying = plan.survivors * plan.folds * len(bench.data.test_labels) * exact / plan.workers
    after = ASSEMBLY_SECONDS + scoring_seconds(bench) + verifying
    return min(planned, budget - after - math.ceil(trainings / plan.workers) * each)
