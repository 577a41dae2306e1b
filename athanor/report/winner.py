"""The network that weighs most in a model: part by part, and how it was trained."""

from typing import Any

from athanor.report.values import Part, Setting, Winner
from search.job import Job
from search.store import TrialRecord
from spaces.recipe import Recipe

FOR_NUMBERS = ("regression_loss",)
FOR_CLASSES = ("label_smoothing", "class_weights", "sampling", "focal")
FACTORS = ("layer_rate_factor", "norm_bias_rate", "augment_until")  # that do nothing at 1


def winner_of(job: Job, board: list[TrialRecord], records: list[TrialRecord]) -> Winner | None:
    """Return the model's heaviest member, or the best trial; None while no trial has a score."""
    chosen = board[0] if board else None
    if job.result is not None:
        heaviest = max(job.result["members"], key=lambda member: member["weight"])
        chosen = records[heaviest["trial"]]
    if chosen is None or chosen.candidate is None or job.plan is None:
        return None
    from spaces.drawing import parts_of  # loads torch

    architecture = chosen.candidate.architecture
    parts = parts_of(architecture, image_shape=job.plan.image_shape, classes=job.plan.classes)
    return Winner(
        trial=chosen.number,
        network=str(architecture),
        architecture=architecture,
        parts=tuple(Part(p.name, p.what, p.shape, p.parameters, p.macs) for p in parts),
        parameters=chosen.parameters or sum(part.parameters for part in parts),
        macs=chosen.macs or sum(part.macs for part in parts),
        recipe=recipe_settings(chosen.candidate.recipe, classes=job.plan.classes),
    )


def recipe_settings(recipe: Recipe, *, classes: int) -> tuple[Setting, ...]:
    """Return what a recipe does, without what it leaves off."""
    idle = FOR_NUMBERS if classes > 1 else FOR_CLASSES
    return tuple(
        Setting(name.replace("_", " "), _text(value))
        for name, value in recipe.to_json().items()
        if name not in idle
        and not (value in ("none", "plain", None) or value == (1.0 if name in FACTORS else 0.0))
    )


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
