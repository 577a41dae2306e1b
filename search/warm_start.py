"""Warm start: the best trials of an earlier search are tried again, as far as they fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pydantic

from spaces.points import Parameter
from spaces.values import Value

MOST = 8  # of the earlier search's trials


class WarmStart(Value):
    """Where parameters come from that are tried after the first trials.

    Attributes:
        job: an earlier search, whose best trials they are.
        store: its study store, by default this search's.
        parameters: of these trials; read when the job is submitted, or stated by hand.
    """

    job: str | None = None
    store: str | None = None
    parameters: tuple[dict[str, Any], ...] = ()


def stated(value: Any) -> Any:
    """Return keys for a job's id alone, or for a list of parameters."""
    if isinstance(value, str):
        return {"job": value}
    return {"parameters": value} if isinstance(value, list) else value


StatedWarmStart = Annotated[WarmStart, pydantic.BeforeValidator(stated)]


@dataclass(frozen=True, slots=True)
class Fitted:
    """Parameters of earlier trials that the space has, too.

    Attributes:
        trials: for each trial its parameters; those that were dropped are sampled anew.
        dropped: for each name and value that does not fit, in how many trials, in words.
    """

    trials: tuple[dict[str, Any], ...]
    dropped: tuple[str, ...]


def fitted(earlier: Sequence[Mapping[str, Any]], space: Mapping[str, Parameter]) -> Fitted:
    """Drop what the space does not have; of trials that are equal then, one stays."""
    trials: list[dict[str, Any]] = []
    dropped: dict[str, int] = {}
    for parameters in earlier:
        kept: dict[str, Any] = {}
        for name, value in parameters.items():
            reason = _misfit(name, value, space)
            if reason is None:
                kept[name] = value
            else:
                dropped[reason] = dropped.get(reason, 0) + 1
        if kept and kept not in trials:
            trials.append(kept)
    told = tuple(f"{reason} ({count} of {len(earlier)})" for reason, count in dropped.items())
    return Fitted(trials=tuple(trials), dropped=told)


def _misfit(name: str, value: Any, space: Mapping[str, Parameter]) -> str | None:
    """Say why a value cannot be had; None if it can."""
    if name not in space:
        return f"{name} is no parameter here"
    parameter = space[name]
    if parameter.choices:
        if value in parameter.choices and type(value) in map(type, parameter.choices):
            return None
        return f"{name}={value} is no choice here"
    assert parameter.low is not None and parameter.high is not None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and parameter.low <= value <= parameter.high:
        return None
    return f"{name}={value} is not within {parameter.low:g} to {parameter.high:g}"
