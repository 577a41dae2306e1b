"""The leaderboard of a report: trials with intervals, ties in words, and the front."""

from collections import Counter

from athanor.leaderboard import Leaderboard
from athanor.progress import Progress
from athanor.report.values import Board, Front, FrontPoint, Score, TrialRow
from search.folds import JUDGING_FOLD
from search.metrics import score_text
from search.predictions import Z_95
from search.store import FoldTask, TrialRecord

MOST_ROWS = 50  # trials that a report lists
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def board_of(board: Leaderboard, progress: Progress) -> Board:
    """Return the best trials, and words on their order."""
    tied = {record.number for record in board.tied}
    states = Counter(record.state for record in progress.trials)
    return Board(
        rows=tuple(_row(board, record, tied) for record in board.trials[:MOST_ROWS]),
        states=tuple(states.most_common()),
        baselines=tuple(board.baselines),
        words=tuple(_words(board)),
    )


def front_of(board: Leaderboard) -> Front | None:
    """Return finished trials by score and cost; None where no cost was to be small.

    Once networks of all costs have raced, they are those, by what they scored there.
    """
    cost = board.job.spec.minimize
    if cost is None:
        return None
    front = {record.number for record in board.front}
    chosen = {task.trial for task in board.folds if task.fold != JUDGING_FOLD and task.done}
    points, raced = [], board.raced
    for record in board.trials:
        price, score = record.cost(cost), raced.get(record.number) if raced else record.score
        if record.finished and price is not None and score is not None:
            beaten = "front" if record.number in front else "beaten"
            role = "chosen" if record.number in chosen else beaten
            points.append(FrontPoint(record.number, score, float(price), role))
    tolerance = board.job.spec.tolerance
    return Front(cost=cost, tolerance=tolerance, raced=bool(raced), points=tuple(points))


def trial_score(record: TrialRecord, *, by_accuracy: bool) -> Score:
    """Return a trial's score with its interval: Wilson's of an accuracy, else by its error."""
    assert record.score is not None
    if by_accuracy and (marks := record.marks) is not None:
        return Score(record.score, *marks.interval)
    if record.error is None:
        return Score(record.score)
    reach = Z_95 * record.error
    return Score(record.score, record.score - reach, record.score + reach)


def _row(board: Leaderboard, record: TrialRecord, tied: set[int]) -> TrialRow:
    apart = board.behind(record)
    return TrialRow(
        trial=record.number,
        state=record.state,
        score=trial_score(record, by_accuracy=board.metric.name == "accuracy"),
        behind=None if apart is None else 0.0 - apart.share,
        behind_text="" if apart is None else board.metric.gap_text(0.0 - apart.share),
        tied=len(tied) > 1 and record.number in tied,
        folds=_folds(record, board.folds),
        parameters=record.parameters,
        macs=record.macs,
        latency=record.latency,
        seconds=record.seconds,
        network="" if record.candidate is None else str(record.candidate.architecture),
        note=record.note,
    )


def _folds(record: TrialRecord, tasks: list[FoldTask]) -> tuple[float, int] | None:
    scores = [
        task.score
        for task in tasks
        if task.trial == record.number and task.fold > JUDGING_FOLD and task.score is not None
    ]
    return (sum(scores) / len(scores), len(scores)) if scores else None


def _words(board: Leaderboard) -> list[str]:
    said, tied = [], board.tied
    if len(tied) > 1:
        count = NUMBERS[len(tied)] if len(tied) < len(NUMBERS) else str(len(tied))
        numbers = ", ".join(str(number) for number in sorted(record.number for record in tied))
        size = f"{(tied[0].parameters or 0) / 1e3:.0f} k parameters"
        said.append(
            f"These {count} are tied: trials {numbers}. On the same images, the 95 % interval of "
            f"their difference to the best holds zero. The smallest is trial {tied[0].number}, "
            f"with {size}."
        )
    elif sum(board.behind(record) is not None for record in board.trials):
        said.append("No other trial is tied with the best one on the same images.")
    if board.corrected is not None:
        finished = sum(record.state == "complete" for record in board.trials)
        said.append(
            f"The best of {finished} scores is partly the luckiest: judged on images that did not "
            f"choose it, it would be about {score_text(board.corrected)}."
        )
    return said
