"""Trials as the leaderboard has them, made up."""

from search.store.records import TrialRecord


def record(
    number: int, score: float, state: str = "complete", macs: int | None = None
) -> TrialRecord:
    """Return a trial that ended with this score."""
    return TrialRecord(
        number=number,
        state=state,
        score=score,
        error=None,
        curve={1: score},
        candidate=None,
        parameters=None,
        macs=macs,
        latency=None,
        seconds=1.0,
        train_pace=None,
        predict_pace=None,
        right=None,
        draws=None,
        note="",
        files=None,
    )
