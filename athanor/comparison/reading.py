"""From the store and the files of some jobs to a `Comparison`."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from athanor.comparison.values import Comparison, Paired, Setting, Side
from athanor.places import Places
from athanor.report.asked import setting_text
from athanor.report.judged import ensemble_of
from athanor.report.ranking import trial_score
from athanor.report.reading import Load, Source, open_source
from athanor.report.values import Score
from search.calibration import as_scored
from search.job import Job
from search.metrics import METRICS, Metric
from search.pairing import Difference, difference, paired
from search.predictions import Z_95
from search.store import StudyStore
from spaces.errors import InputError
from workers.data import ImageData

NOT_COMPARED = ("name", "priority", "reopen_test", "keep_test_closed")  # keys that change no result


def read_comparison(
    store: StudyStore,
    job_ids: Sequence[str],
    *,
    places: Places,
    load: Load,
) -> Comparison:
    """Compare two jobs or more.

    Raises:
        InputError: there are fewer, or one comes twice.
        JobError: one is not there, or has not begun.
    """
    if len(job_ids) < 2 or len(set(job_ids)) < len(job_ids):
        raise InputError(f"compare needs two different jobs, but got {', '.join(job_ids)}")
    known: dict[str, ImageData] = {}  # by the rows that jobs were planned with

    def load_once(job: Job) -> ImageData:
        rows = "" if job.plan is None else job.plan.data_fingerprint
        if rows not in known:
            known[rows] = load(job)
        return known[rows]

    sources = [
        open_source(store, job_id, files=places.files(job_id), load=load_once) for job_id in job_ids
    ]
    pairs, apart = list[Paired](), list[str]()
    for first, second in itertools.combinations(sources, 2):
        found = _pair(first, second)
        if isinstance(found, Paired):
            pairs.append(found)
        else:
            apart.append(found)
    if len({side.job.plan.metric for side in sources if side.job.plan is not None}) == 1:
        apart += _tests_text(sources)
    return Comparison(
        sides=tuple(_side(store, source) for source in sources),
        settings=tuple(_settings([source.job for source in sources])),
        pairs=tuple(pairs),
        apart=tuple(apart),
    )


def _side(store: StudyStore, source: Source) -> Side:
    job, records = source.job, source.progress.trials
    assert job.plan is not None
    best, trials = source.progress.best, store.trials(job)
    ensemble = ensemble_of(job, records, source.judged)
    by_accuracy = job.plan.metric == "accuracy"
    return Side(
        job=job.id,
        state=job.state,
        metric=METRICS[job.plan.metric].label,
        budget=job.spec.budget,
        seconds=job.seconds_used,
        processor_seconds=job.processor_seconds,
        joules=trials.joules(),
        trials=sum(record.state not in ("infeasible", "waiting") for record in records),
        best_trial=None if best is None else best.number,
        best=None if best is None else trial_score(best, by_accuracy=by_accuracy),
        out_of_fold=None if ensemble is None else ensemble.score,
        rows=0 if ensemble is None else ensemble.rows,
        expected=None if ensemble is None else ensemble.expected,
        test=None if ensemble is None else ensemble.test,
        test_rows=0 if ensemble is None else ensemble.test_rows,
        networks=0 if ensemble is None else ensemble.networks,
        parameters=0 if ensemble is None else ensemble.parameters,
    )


def _settings(jobs: Sequence[Job]) -> list[Setting]:
    """Return what differs of what was asked, and of what was planned where that follows."""
    asked = [_flat(job) for job in jobs]
    names = dict.fromkeys(name for each in asked for name in each)
    rows = [(name, tuple(setting_text(name, each.get(name)) for each in asked)) for name in names]
    return [Setting(name, values) for name, values in rows if len(set(values)) > 1]


def _flat(job: Job) -> dict[str, Any]:
    spec = {key: v for key, v in job.spec.to_json().items() if key not in NOT_COMPARED}
    space = spec.pop("space")
    recipe = space.pop("recipe", {})
    space |= {f"recipe {key}": value for key, value in recipe.items()}
    assert job.plan is not None
    plan = {"trial rows": job.plan.search_rows, "workers": job.plan.workers}
    return {**spec, **plan, **{f"space: {key}": value for key, value in space.items()}}


def _pair(first: Source, second: Source) -> Paired | str:
    """Compare two jobs on the rows that both have judged; say why not, if not."""
    names, plans = f"{first.job.id} and {second.job.id}", (first.job.plan, second.job.plan)
    one, other = plans
    assert one is not None and other is not None
    if one.data_fingerprint != other.data_fingerprint:
        return f"{names} were run on other rows, so their scores cannot be compared"
    if one.metric != other.metric:
        return f"{names} are judged by {one.metric} and {other.metric}"
    if first.judged is not None and second.judged is not None:
        return _of_models(first, second) or f"{names} were judged on no row in common"
    missing = [s.job.id for s in (first, second) if s.judged is None]
    why = f"{' and '.join(missing)} has no out-of-fold predictions to read"
    return _of_trials(first, second) or f"{names} cannot be compared row by row: {why}"


def _of_models(first: Source, second: Source) -> Paired | None:
    assert first.judged is not None and second.judged is not None and first.job.plan is not None
    rows, mine, theirs = np.intersect1d(first.judged.rows, second.judged.rows, return_indices=True)
    if not len(rows):
        return None
    metric, targets = METRICS[first.job.plan.metric], first.judged.targets[mine]
    grouped = [
        s.judged.groups[own]
        for s, own in ((first, mine), (second, theirs))
        if s.judged is not None and s.judged.groups is not None
    ]
    said = (_scored(first, metric)[mine], _scored(second, metric)[theirs])
    return _paired(
        first,
        second,
        paired(metric, targets, *said, seed=0, groups=grouped[0] if grouped else None),
        on="models, on training rows that their networks had not learnt"
        f"{', but their weights were chosen by' if _weighed(first, second) else ''}",
        rows=len(rows),
        scores=(metric.score(targets, said[0]), metric.score(targets, said[1])),
    )


def _scored(source: Source, metric: Metric) -> NDArray[Any]:
    """Return what a job's model says of the rows that judged it, as its score was reckoned."""
    assert source.judged is not None
    temperature = (source.job.result or {}).get("temperature", 1.0)
    return as_scored(metric, source.judged.together, temperature)


def _weighed(*sources: Source) -> bool:
    """Whether a model's finalists have weights, or a stack, that were fitted to such rows."""
    return any(len((source.job.result or {}).get("members", ())) > 1 for source in sources)


def _of_trials(first: Source, second: Source) -> Paired | None:
    """Compare the best trials, if they were judged on the same images."""
    plans = [
        (p.folds_hash, p.validation_rows, s.job.spec.seed)
        for s in (first, second)
        if (p := s.job.plan) is not None
    ]
    if plans[0] != plans[1]:
        return None
    best = [source.progress.best for source in (first, second)]
    by_accuracy = first.job.plan is not None and first.job.plan.metric == "accuracy"
    judged = [found for each in best if each and (found := each.judged(by_accuracy=by_accuracy))]
    scores = [each.score for each in best if each and each.score is not None]
    if len(judged) < 2 or len(scores) < 2:
        return None
    return _paired(
        first,
        second,
        difference(judged[0], judged[1]),
        on="best trials, on their validation rows",
        rows=plans[0][1],
        scores=(scores[0], scores[1]),
    )


def _paired(
    first: Source,
    second: Source,
    apart: Difference,
    *,
    on: str,
    rows: int,
    scores: tuple[float, float],
) -> Paired:
    reach = Z_95 * apart.error
    return Paired(
        first=first.job.id,
        second=second.job.id,
        on=on,
        rows=rows,
        scores=scores,
        difference=Score(apart.share, apart.share - reach, apart.share + reach),
        tied=apart.tied,
    )


def _tests_text(sources: Sequence[Source]) -> list[str]:
    """Say what test scores are worth beside each other."""
    opened = [s.job.id for s in sources if (s.job.result or {}).get("test_opened")]
    if len(opened) < 2:
        return []
    return [
        "test scores are what each job has recorded; predictions of test rows are not kept, so "
        "these are not compared row by row"
    ]
