"""Which trials may become finalists."""

from search.first_trials import leader, without_loser
from search.store import TrialRecord
from search.store.records import ranked
from workers.workbench import Workbench


def contenders(bench: Workbench) -> tuple[list[TrialRecord], int]:
    """Return the scored trials that may become finalists, best first, and the prior's number."""
    first, rows = bench.plan.deciding_trials, bench.plan.validation_rows
    records = bench.trials.records()
    prior = leader(first, records, validation_rows=rows)
    return without_loser(ranked(records), first, leader=prior), prior
