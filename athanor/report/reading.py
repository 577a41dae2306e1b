"""From the store and a job's files to a `Report`."""

from collections.abc import Callable
from dataclasses import dataclass

from athanor.leaderboard import Leaderboard
from athanor.places import Places
from athanor.progress import Progress, clock_text
from athanor.report.advice import Findings, advice_of
from athanor.report.asked import asked, protocol_of
from athanor.report.costs import costs_of, openings_of
from athanor.report.judged import (
    calibration_of,
    ensemble_of,
    mistakes_of,
    number_mistakes_of,
)
from athanor.report.ranking import board_of, front_of
from athanor.report.values import Ensemble, GapRow, Importance, Report
from athanor.report.winner import winner_of
from search.folds import ALL_ROWS, JUDGING_FOLD, Folds
from search.influence import influences, signals
from search.job import Job
from search.metrics import METRICS, score_text
from search.overfitting import gaps
from search.store import FoldTask, StudyStore, Trials
from spaces.errors import AthanorError, InputError, JobError, StoreError
from workers.data import ImageData, load_data
from workers.files import JobFiles
from workers.judged_rows import JudgedRows, judged_rows, open_job
from workers.learning_curves import LearningCurve, fold_curve, trial_curve

CURVES = 6  # trials whose curves are shown
FOLD_CURVES = 8  # trainings of finalists

Load = Callable[[Job], ImageData]


@dataclass(frozen=True, eq=False)
class Source:
    """What a report, and its pictures, are made from.

    Attributes:
        data: None where they cannot be loaded, or have changed since.
        judged: None where the job is not done, or its files or data are gone.
        missing: why something is not there.
    """

    job: Job
    progress: Progress
    files: JobFiles
    data: ImageData | None
    judged: JudgedRows | None
    missing: tuple[str, ...]


def loading(places: Places, tell: Callable[[str], None]) -> Load:
    """Return what loads the data of a job as its workers have.

    Args:
        tell: told what is being done where it takes longer than a moment.
    """

    def load(job: Job) -> ImageData:
        options = job.spec.image_options
        return load_data(job.spec.data, options, cache=places.cache, progress=tell)

    return load


def open_source(store: StudyStore, job_id: str, *, files: JobFiles, load: Load) -> Source:
    """Look what there is of a job.

    Args:
        load: returns the data of a job.

    Raises:
        JobError: there is no such job, or it has not begun.
    """
    progress = Progress.read(store, job_id)
    job, missing = progress.job, list[str]()
    if job.plan is None:
        raise JobError(f"only a job that has begun has a report, but {job_id} is {job.state}")
    data = judged = None
    try:
        loaded = load(job)
        if loaded.train_fingerprint == job.plan.data_fingerprint:
            data = loaded
        else:
            missing.append(f"{job.spec.data} has other rows than when the job was run")
    except AthanorError as failure:
        missing.append(f"the data cannot be loaded: {failure}")
    if data is not None and job.result is not None:
        try:
            judged = judged_rows(job, progress.folds, open_job(job, files=files, data=data))
        except InputError as failure:
            missing.append(str(failure))
    if judged is None and job.result is not None:
        missing.append("so no mistake, calibration or picture is shown")
    return Source(job, progress, files, data, judged, tuple(missing))


def read_report(store: StudyStore, source: Source) -> Report:
    """Return the report of a job: figures of the store, and of the predictions in its files."""
    job, progress, judged = source.job, source.progress, source.judged
    assert job.plan is not None
    trials = store.trials(job)
    board = Leaderboard.read(store, progress)
    ensemble = ensemble_of(job, progress.trials, judged)
    temperature = (job.result or {}).get("temperature", 1.0)
    classes = judged if METRICS[job.plan.metric].task == "classification" else None
    ranked, importance = board_of(board, progress), _importance(trials)
    mistakes = None if classes is None else mistakes_of(classes, temperature)
    calibration = None if classes is None else calibration_of(classes, temperature)
    found_gaps = _gaps(job, progress.folds)
    protocol = protocol_of(job, _folds(source), source.data)
    findings = Findings(
        job=job,
        board=ranked,
        importance=importance,
        gaps=found_gaps,
        ensemble=ensemble,
        mistakes=mistakes,
        calibration=calibration,
        tasks=tuple(progress.folds),
        class_names=protocol.class_names,
    )
    return Report(
        job=job.id,
        state=job.state,
        data=job.spec.data,
        created_at=job.created_at,
        headline=_headline(job, progress, ensemble),
        asked=asked(job),
        protocol=protocol,
        board=ranked,
        winner=winner_of(job, board.trials, progress.trials),
        curves=_curves(board, progress, source.files),
        front=front_of(board),
        importance=importance,
        gaps=found_gaps,
        ensemble=ensemble,
        mistakes=mistakes,
        number_mistakes=(
            () if judged is None or classes is not None else number_mistakes_of(judged)
        ),
        calibration=calibration,
        costs=costs_of(job, joules=trials.joules()),
        openings=openings_of(store, job),
        advice=advice_of(findings),
        missing=source.missing,
    )


def _folds(source: Source) -> Folds | None:
    assert source.job.plan is not None
    try:
        return Folds.load(source.files.folds(source.job.plan.folds_hash))
    except StoreError:
        return None


def _importance(trials: Trials) -> Importance:
    known = tuple(signals(trials.records()).items())
    try:
        found = influences(trials.study)
    except InputError as failure:
        return Importance(signals=known, reason=str(failure))
    return Importance(
        parameters=found.parameters,
        interactions=found.interactions,
        target=found.target,
        trials=found.trials,
        signals=known,
    )


def _gaps(job: Job, tasks: list[FoldTask]) -> tuple[GapRow, ...]:
    tested = (job.result or {}).get("test_accuracy_of_members", {})
    return tuple(
        GapRow(
            trial=gap.trial,
            training=gap.training,
            left_out=gap.left_out,
            test=tested.get(f"trial-{gap.trial}"),
            points=gap.points,
            word=gap.word,
        )
        for gap in gaps(tasks)
    )


def _curves(board: Leaderboard, progress: Progress, files: JobFiles) -> tuple[LearningCurve, ...]:
    found = [trial_curve(record, files) for record in board.trials[:CURVES]]
    done = [t for t in progress.folds if t.done and t.fold not in (JUDGING_FOLD, ALL_ROWS)]
    return (*found, *(fold_curve(task, files) for task in done[:FOLD_CURVES]))


def _headline(job: Job, progress: Progress, ensemble: Ensemble | None) -> tuple[str, ...]:
    """Say in a few sentences what came out."""
    if ensemble is None:
        best = progress.best_line()
        return tuple(
            each
            for each in (
                f"The job is {job.state}. {job.error or ''}".strip(),
                f"Best so far: {best}." if best else "",
            )
            if each
        )
    label = METRICS[job.plan.metric].label if job.plan is not None else "score"
    expected, test = ensemble.expected, ensemble.test
    said = [
        f"Out of fold the {label} is {score_text(ensemble.score.value)}: of {ensemble.rows:,} "
        "rows, each judged by networks that had not learnt it."
    ]
    if test is not None and expected.low is not None and expected.high is not None:
        bound = (job.result or {})["expected"]["lower"]
        place = "above" if test.value > expected.high else "below"
        if expected.low <= test.value <= expected.high:
            place = "within"
        said.append(
            f"The test gave {score_text(test.value)}, {place} the interval that was expected "
            f"before it was opened, {score_text(expected.low)} to {score_text(expected.high)}"
            f"{', which was a lower bound' if bound and place == 'above' else ''}."
        )
    elif not (job.result or {}).get("test_opened"):
        why = "another job has opened it before"
        if job.spec.keep_test_closed:
            why = "this was asked for"
        said.append(f"The test set was left closed: {why}.")
    budget = "" if job.spec.budget is None else f" of {clock_text(job.spec.budget)} promised"
    said.append(f"{progress.states()}, in {clock_text(job.seconds_used)}{budget}.")
    return tuple(said)
