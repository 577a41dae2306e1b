"""What a job asked for, and how its data were parted and its models judged: in sentences."""

from typing import Any

from athanor.progress import clock_text
from athanor.report.values import Protocol, Setting
from search.folds import JUDGING_FOLD, Folds, times
from search.job import Job
from search.metrics import METRICS
from search.plan import Plan
from workers.data import ImageData

FINALS = {
    "bag": "the networks of all folds are averaged",
    "best": "the best network of the folds is kept",
    "refit": "each finalist is trained once more, on all rows",
}
SECONDS = ("budget", "device_budget")


def asked(job: Job) -> tuple[Setting, ...]:
    """Return every key of the job that is not what it is by default."""
    stated = job.spec.model_dump(mode="json", exclude_defaults=True)
    space = stated.pop("space", {})
    told = {**stated, **{f"space: {key}": value for key, value in _flat(space).items()}}
    return tuple(Setting(key, setting_text(key, value)) for key, value in told.items())


def protocol_of(job: Job, folds: Folds | None, data: ImageData | None) -> Protocol:
    """Say how rows were parted, who was judged on which, and why."""
    plan = job.plan
    assert plan is not None
    metric = METRICS[plan.metric]
    said = [*_rows(job, folds, data), *_judging(job, plan), *plan.notes]
    if data is not None and len(data.train_labels) < 5000:
        said.append(
            f"with {len(data.train_labels):,} rows to learn from, every score is known only "
            "roughly: mind the intervals"
        )
    return Protocol(
        task=metric.task,
        metric=plan.metric,
        label=metric.label,
        image_shape=plan.image_shape,
        class_names=() if data is None else data.class_names,
        sentences=tuple(said),
    )


def _rows(job: Job, folds: Folds | None, data: ImageData | None) -> list[str]:
    plan = job.plan
    assert plan is not None
    height, width, channels = plan.image_shape
    kind = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
    classes = f"{plan.classes} classes" if plan.classes > 1 else "a number to predict"
    said = [f"images are {kind}, {height}x{width} pixels; {classes}"]
    if data is not None:
        said.append(
            f"{len(data.train_labels):,} rows to learn from, {len(data.test_labels):,} test rows "
            f"({data.test_split})"
        )
    if folds is not None:
        judging, *others = (len(fold.validation_rows) for fold in folds.folds)
        several = folds.parted_into > len(folds.folds) and folds.repeats == 1
        sizes = sorted({*others} if several else {judging, *others})
        each = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
        more = f", of which several ({judging:,} rows) judge trials" if several else ""
        said.append(
            f"the rows are parted into {folds.parted_into} parts of {each} rows{more}"
            f"{times(folds.repeats)}; seed {folds.seed}"
        )
        if data is not None and not _known(data):
            said.append("each fold has an equal share of every class")
    return said


def _known(data: ImageData) -> bool:
    """Whether something besides the label decides how rows are parted; the notes say what."""
    columns = (data.columns.groups, data.columns.times, data.columns.folds)
    return any(column is not None for column in columns) or data.task == "regression"


def _judging(job: Job, plan: Plan) -> list[str]:
    metric, race = METRICS[plan.metric].label, ""
    if plan.races:
        race = f", {plan.finalists} finalists raced there for {plan.survivors} places"
    said = [
        f"trials learnt from {plan.search_rows:,} rows and were judged on "
        f"{plan.validation_rows:,} others of fold {JUDGING_FOLD}, by {metric}{race}",
        f"{plan.survivors} finalist{'s were' if plan.survivors > 1 else ' was'} trained on "
        f"{plan.folds} other folds, whose rows had judged no trial; {FINALS[plan.final]}",
    ]
    if job.spec.repeats > 1:
        said.append(f"the rows were parted {job.spec.repeats} times")
    if job.spec.lands is not None:
        said.append(f"the trials are those of {job.spec.lands}, landed once more")
    return said


def _flat(space: dict[str, Any]) -> dict[str, Any]:
    """Return a space's keys, those of its recipes among them."""
    recipe = space.pop("recipe", {})
    return {**space, **{f"recipe {key}": value for key, value in recipe.items()}}


def setting_text(key: str, value: Any) -> str:
    """Write the value of a key of a job; None stands for what is decided by budget or data."""
    if value is None:
        return "by itself"
    if key in SECONDS and isinstance(value, (int, float)):
        return clock_text(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)
