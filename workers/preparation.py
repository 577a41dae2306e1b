"""A job's first step: look at the data, split the folds, measure this host, write the plan."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from optuna.trial import FixedTrial

from search.balance import ALIKE, usual_metric, with_class_weights
from search.changes import LEVELS
from search.durable import make_folder
from search.first_trials import first_trials
from search.folds import JUDGING_FOLD
from search.job import Job
from search.job_spec import JobSpec
from search.metrics import MetricName
from search.plan import (
    COST_RACE_SHARE,
    MAX_SEARCH_VALIDATION,
    MIN_SEARCH_VALIDATION,
    RACE_SHARE,
    HostSpeed,
    Plan,
    Shape,
    macs_for,
    rows_for_trials,
    search_seconds,
)
from search.regression import for_regression
from search.store import StudyStore
from search.warm_start import fitted
from spaces.complexity import measure_complexity
from spaces.custom import CustomSpace
from spaces.limits import Complexity, Limits
from spaces.points import parameters_of, settings
from spaces.reading import Space
from spaces.space import SearchSpace
from workers.data import ImageData
from workers.files import JobFiles
from workers.host_speed import host_speed
from workers.memory import memory_for_steps
from workers.splitting import check_metric, split

FINALIST_EPOCHS = 12  # of a search without a time budget
MIN_STEPS = 200  # of a trial, where the space has a batch size so small
PRIOR_EXCESS = -0.15  # the first network stays this far below every limit
STRETCHED, REDUCIBLE = 1.5, 3.0  # see `usual_macs`
KEPT_EXCESS = 0.5  # a width stays in the space if its prior network exceeds no limit by more

Limit = TypeVar("Limit", int, float)


def prepare(
    store: StudyStore,
    job: Job,
    *,
    data: ImageData,
    files: JobFiles,
    cache: Path,
    progress: Callable[[str], None],
    workers: int | None = None,
) -> None:
    """Write the plan, so that the search can begin.

    Args:
        workers: for how many it is, where the job does not say.
    """
    spec = job.spec.shared_by(workers)
    parts = split(spec, data)
    folds = parts.folds
    make_folder(files.folder)
    folds.save(files.folds(folds.hash))
    speed, device = host_speed(cache=cache, progress=progress, workers=spec.worker_count)
    shape = Shape(
        rows=len(data.train_labels),
        splits=parts.parts,
        folds=parts.count,
        workers=spec.worker_count,
        survivors=spec.survivor_count,
        refit=parts.final == "refit",
    )
    metric, judged = _metric(spec, data)
    check_metric(metric, data, parts)
    space, weighed = fitted_space(spec.space, metric, data=data)
    memory = spec.max_memory or memory_for_steps(device, workers=spec.worker_count)
    limits = Limits(
        parameters=_smaller(spec.max_parameters, spec.ensemble_parameters),
        macs=spec.max_macs or usual_macs(spec.budget, space, data=data, shape=shape, speed=speed),
        activations=spec.max_activations,
        latency=_smaller(spec.max_latency, spec.ensemble_latency),
        latency_batch=spec.latency_batch,
        memory=memory,
    )
    notes = tuple(note for note in (*parts.notes, judged, weighed) if note)
    for note in notes:
        progress(note)
    space, size = space_within(space, limits, data=data)
    prior_macs = prior_complexity(space, size=size, data=data).macs
    rows = spec.search_rows or rows_for_trials(
        spec.budget,
        epochs=spec.epochs,
        rung=spec.rung,
        keep=spec.keep,
        macs=prior_macs,
        shape=shape,
        speed=speed,
    )
    first = folds.folds[JUDGING_FOLD]
    rows = min(rows, len(first.train_rows))
    space = with_small_batches(space, images=rows * spec.epochs)
    first_ones = first_trials(space, size=size)
    warm = _warm_trials(spec, space, data=data, progress=progress)
    plan = Plan(
        device=device.to_json(),
        speed=speed,
        threads=torch.get_num_threads(),
        workers=spec.worker_count,
        search_rows=rows,
        validation_rows=min(
            max(MIN_SEARCH_VALIDATION, min(rows, MAX_SEARCH_VALIDATION)),
            len(first.validation_rows),
        ),
        search_epochs=spec.epochs,
        prior_macs=None if spec.budget is None or spec.search_epochs else prior_macs,
        search_seconds=search_seconds(spec.budget),
        space=space,
        limits=limits,
        first_trials=tuple(first_ones),
        settled=spec.settled,
        warm_trials=warm,
        race_share=RACE_SHARE if spec.minimize is None else COST_RACE_SHARE,
        metric=metric,
        notes=notes,
        most_trials=_most_trials(spec, space, begun=len(first_ones) + len(warm)),
        finalists=spec.finalist_count,
        survivors=shape.survivors,
        folds=shape.folds,
        final=parts.final,
        finalist_epochs=FINALIST_EPOCHS,
        classes=data.classes,
        image_shape=data.image_shape,
        data_fingerprint=data.train_fingerprint,
        folds_hash=folds.hash,
        test_rows=data.test_rows.shortened(),
    )
    store.jobs.set_plan(job.id, plan)


def _smaller(*limits: Limit | None) -> Limit | None:
    """Return the tightest of the limits that are stated: one network must be within all."""
    return min((limit for limit in limits if limit is not None), default=None)


def _metric(spec: JobSpec, data: ImageData) -> tuple[MetricName, str]:
    """Return the metric, and why it is another one than usual if nobody has asked for it."""
    if spec.metric is not None:
        return spec.metric, ""
    return usual_metric(data.train_labels)


def fitted_space(space: Space, metric: MetricName, *, data: ImageData) -> tuple[Space, str]:
    """Let unbalanced classes count alike in the losses if the metric does so, too.

    Where numbers are predicted, leave out what is for classes.
    """
    if isinstance(space, CustomSpace):  # which chooses recipes itself
        return space, ""
    if data.task == "regression":
        recipe, note = for_regression(space.recipe)
    elif metric in ALIKE:
        recipe, note = with_class_weights(space.recipe, data.train_labels)
    else:
        return space, ""
    return space.model_copy(update={"recipe": recipe}), note


def _warm_trials(
    spec: JobSpec, space: Space, *, data: ImageData, progress: Callable[[str], None]
) -> tuple[dict[str, Any], ...]:
    """Return parameters of an earlier search, as far as the narrowed space has them."""
    if spec.warm_start is None:
        return ()
    parameters = parameters_of(space, side=min(data.image_shape[:2]))
    found = fitted(spec.warm_start.parameters, parameters)
    for reason in found.dropped:
        progress(f"warm start: dropped {reason}")
    return found.trials


def _most_trials(spec: JobSpec, space: Space, *, begun: int) -> int | None:
    """Return after how many trials an exhaustive search has tried all settings.

    Args:
        begun: trials whose parameters are given.
    """
    if spec.strategy != "exhaustive":
        return None
    varied = [each for name, each in parameters_of(space).items() if name not in spec.settled]
    return begun + settings(varied, levels=LEVELS)


def with_small_batches(space: Space, *, images: int) -> Space:
    """Leave out batch sizes with which a trial would take too few steps to tell its worth.

    Among trials of a hundred steps the smallest batch wins, whatever else they try. A finalist's
    batch grows with its training (`Recipe.lengthened`).

    Args:
        images: that a trial trains on in all its epochs.
    """
    sizes = space.recipe.batch_sizes
    small = tuple(size for size in sizes if size * MIN_STEPS <= images)
    recipe = space.recipe.model_copy(update={"batch_sizes": small or (min(sizes),)})
    return space.model_copy(update={"recipe": recipe})


def usual_macs(
    budget: float | None, space: Space, *, data: ImageData, shape: Shape, speed: HostSpeed
) -> int | None:
    """Return the MACs that a network may need where nobody has stated it; None: as many as it will.

    These are what the budget affords, or a little more if the smallest prior needs it: on
    Fashion-MNIST a minute, which affords three quarters of it, gained a point by that, half a
    minute, which affords half, lost two. Then smaller networks are found by changing it; a third of
    its cost is always allowed, as hardly any is smaller.
    """
    affordable = macs_for(budget, shape=shape, speed=speed)
    if affordable is None:
        return None
    smallest = prior_complexity(space, size=space.sizes[0], data=data).macs
    needed = math.ceil(smallest / (1.0 + PRIOR_EXCESS))
    if needed <= STRETCHED * affordable:
        return max(affordable, needed)
    return max(affordable, math.ceil(needed / REDUCIBLE))


def space_within(space: Space, limits: Limits, *, data: ImageData) -> tuple[Space, float]:
    """Leave out sizes whose prior network is far beyond the limits; choose the prior's size.

    Without this most networks that a small budget samples would be infeasible. Returns the
    space, and the largest size whose prior network stays well within the limits.
    """
    excess = {
        size: max(
            limits.excess(prior_complexity(space, size=size, data=data)).values(), default=-1.0
        )
        for size in space.sizes
    }
    kept = [size for size in space.sizes if excess[size] <= KEPT_EXCESS]
    prior = [size for size in space.sizes if excess[size] <= PRIOR_EXCESS]
    return space.sized(kept or space.sizes[:1]), max(prior, default=space.sizes[0])


def prior_complexity(space: SearchSpace, *, size: float, data: ImageData) -> Complexity:
    """Return what the prior of a size costs on images of this shape."""
    trial = FixedTrial(space.prior(size=size))
    candidate = space.suggest(trial, side=min(data.image_shape[:2]), epochs=1)
    return measure_complexity(
        candidate.architecture, image_shape=data.image_shape, classes=data.classes
    )
