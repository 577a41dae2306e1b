"""What to try next: each a rule over a report's figures, told with those that speak for it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from athanor.report.judged import SURE
from athanor.report.values import (
    Advice,
    Board,
    Calibration,
    Ensemble,
    GapRow,
    Importance,
    Mistakes,
)
from search.job import Job
from search.metrics import score_text
from search.overfitting import LEARNT, LITTLE, MUCH
from search.store import FoldTask

FEW_EPOCHS = 20.0  # of a finalist, below which longer training has paid (docs/recipe.md)
PAIR_SHARE = 0.25  # of all mistakes, between two classes
MISCALIBRATED = 0.05  # expected calibration error
MUCH_SMALLER = 0.75  # of the best trial's parameters
INFEASIBLE = 0.5  # of the trials
BASELINE_LEAD = 0.02  # of the score, by which a network should beat the best simple model
FEW_TRIALS = 8
FEW, TELLING = 3, 0.1  # trials with a value, and its share of the variance, to speak of it


@dataclass(frozen=True, slots=True)
class Findings:
    """What advice is drawn from."""

    job: Job
    board: Board
    importance: Importance
    gaps: tuple[GapRow, ...]
    ensemble: Ensemble | None
    mistakes: Mistakes | None
    calibration: Calibration | None
    tasks: tuple[FoldTask, ...]
    class_names: tuple[str, ...]


def advice_of(found: Findings) -> tuple[Advice, ...]:
    """Return what each rule has to say."""
    return tuple(advice for rule in RULES for advice in rule(found))


def _fit(found: Findings) -> Iterator[Advice]:
    """More time, or more rows: by the gap and by how often each image was seen."""
    epochs = [t.report["epochs"] for t in found.tasks if t.done and t.report is not None]
    for gap in found.gaps[:1]:
        share = gap.points / 100.0
        told = f"{gap.training:.4f} on what it learnt, {gap.left_out:.4f} on what it left out"
        if share >= MUCH:
            yield Advice("More rows, stronger augmentation or a smaller network", told)
        elif share < LITTLE and gap.training < LEARNT:
            seen = f"; it trained {min(epochs):.3g} epochs" if epochs else ""
            if epochs and min(epochs) < FEW_EPOCHS:
                yield Advice("A larger budget: the networks have more to learn", told + seen)
            else:
                yield Advice("A larger network (wider, or max_macs)", told + seen)


def _size(found: Findings) -> Iterator[Advice]:
    """A smaller network that is as good."""
    tied = [row for row in found.board.rows if row.tied and row.parameters]
    best = found.board.rows[0] if found.board.rows else None
    if best is None or not tied or not best.parameters:
        return
    smallest = min(tied, key=lambda row: row.parameters or 0)
    if (smallest.parameters or 0) <= MUCH_SMALLER * best.parameters:
        how = "" if found.job.spec.minimize else "; --minimize parameters looks for such"
        yield Advice(
            f"A smaller network: trial {smallest.trial}",
            f"it is tied with the best one and has {(smallest.parameters or 0) / 1e3:.0f} k of "
            f"{best.parameters / 1e3:.0f} k parameters{how}",
        )


def _pairs(found: Findings) -> Iterator[Advice]:
    """The two classes among which most mistakes are."""
    if found.mistakes is None or not found.mistakes.pairs:
        return
    together: dict[frozenset[int], int] = {}
    for pair in found.mistakes.pairs:
        key = frozenset((pair.target, pair.predicted))
        together[key] = together.get(key, 0) + pair.rows
    classes, rows = max(together.items(), key=lambda item: item[1])
    if len(found.mistakes.recall) > 2 and rows >= PAIR_SHARE * found.mistakes.wrong:
        one, other = sorted(classes)
        yield Advice(
            f"More or better images of {_name(found, one)} and {_name(found, other)}",
            f"{rows:,} of {found.mistakes.wrong:,} mistakes are between these two",
        )


def _labels(found: Findings) -> Iterator[Advice]:
    """Labels that may be wrong."""
    if found.mistakes is not None and found.mistakes.sure:
        rows = found.mistakes.sure
        yield Advice(
            "Look at the labels of the worst mistakes",
            f"{rows:,} row{'s are' if rows > 1 else ' is'} given {SURE:.0%} or more for another "
            "class by networks that have not learnt from them",
        )


def _calibrated(found: Findings) -> Iterator[Advice]:
    """Probabilities that are not to be relied on."""
    if found.calibration is not None and found.calibration.error > MISCALIBRATED:
        yield Advice(
            "Do not rely on the probabilities as they are",
            f"the expected calibration error is {found.calibration.error:.3f} at temperature "
            f"{found.calibration.temperature:.2f}",
        )


def _shifted(found: Findings) -> Iterator[Advice]:
    """A test set of another kind than the rows."""
    ensemble = found.ensemble
    if ensemble is None or ensemble.test is None or ensemble.expected.low is None:
        return
    if ensemble.test.value < ensemble.expected.low:
        yield Advice(
            "Look how the test rows differ from the others",
            f"the test gave {score_text(ensemble.test.value)}, but "
            f"{score_text(ensemble.expected.low)} or more was expected",
        )


def _simple(found: Findings) -> Iterator[Advice]:
    """A simple model that is as good."""
    scored = [each for each in found.board.baselines if each.score is not None]
    if not scored or not found.board.rows:
        return
    best, top = max(scored, key=lambda each: each.score or 0.0), found.board.rows[0].score.value
    assert best.score is not None
    if top - best.score < BASELINE_LEAD * max(abs(top), 1e-9):
        yield Advice(
            f"Ask whether a network is needed: a simple model ({best.name}) does as well",
            f"{score_text(best.score)} against {score_text(top)} of the best trial, on the same "
            "rows",
        )


def _borders(found: Findings) -> Iterator[Advice]:
    """A range whose end is its best value."""
    for each in found.importance.parameters[:3]:
        effects = each.effects
        if each.scale == "choice" or len(effects) < 3:
            continue
        best = max(range(len(effects)), key=lambda n: effects[n].score)
        known = effects[best].trials >= FEW and each.fanova >= TELLING
        if known and best in (0, len(effects) - 1) and effects[best].value != 0:
            yield Advice(
                f"A wider range of {each.name}",
                f"most is expected of {effects[best].value}, which is the "
                f"{'least' if best == 0 else 'largest'} that was tried; it explains "
                f"{each.fanova:.0%} of the variance",
            )


def _limits(found: Findings) -> Iterator[Advice]:
    """Limits that most samples break, and searches that are too short."""
    counts = dict(found.board.states)
    total = sum(counts.values())
    if total and counts.get("infeasible", 0) > INFEASIBLE * total:
        yield Advice(
            "Wider limits or a narrower space",
            f"{counts['infeasible']} of {total} trials were beyond a limit and not trained",
        )
    scored = len(found.board.rows)
    if scored < FEW_TRIALS and found.job.spec.lands is None:
        yield Advice(
            "More trials: the search was short",
            f"{scored} trial{'s have' if scored != 1 else ' has'} a score",
        )


def _name(found: Findings, number: int) -> str:
    return found.class_names[number] if number < len(found.class_names) else f"class {number}"


RULES: tuple[Callable[[Findings], Iterator[Advice]], ...] = (
    _fit,
    _shifted,
    _pairs,
    _labels,
    _size,
    _borders,
    _simple,
    _calibrated,
    _limits,
)
