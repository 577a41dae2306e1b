"""A study of thousands of trials, put into a store in bulk: no search would be that long for it."""

import datetime
import json
import math
import random

import sqlalchemy as sa
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import TrialState

from search.job import Job
from search.job_spec import JobSpec
from search.store import StudyStore

PARAMETERS: dict[str, BaseDistribution] = {
    **{f"width_{n}": CategoricalDistribution((8, 16, 32, 64)) for n in range(5)},
    **{f"depth_{n}": IntDistribution(1, 4) for n in range(5)},
    **{f"rate_{n}": FloatDistribution(1e-4, 1.0, log=True) for n in range(5)},
    **{f"share_{n}": FloatDistribution(0.0, 1.0) for n in range(5)},
}
EPOCHS = 30
FINITE = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
SECONDS = 20.0  # that each trial is said to have taken
START = datetime.datetime(2026, 1, 1)


def make_study(store: StudyStore, *, trials: int, seed: int = 0) -> Job:
    """Put a job with a study of finished trials into a store: 20 parameters, 30 epochs each."""
    job = store.jobs.create(JobSpec.parse({"data": "digits", "trials": trials, "name": "large"}))
    with store._rdb.engine.begin() as connection:
        number = _insert_study(connection, job.id)
        first = (connection.scalar(sa.select(sa.func.max(models.TrialModel.trial_id))) or 0) + 1
        _insert_trials(connection, number, range(first, first + trials), random.Random(seed))
    return job


def _insert_study(connection: sa.Connection, name: str) -> int:
    made = connection.execute(sa.insert(models.StudyModel).values(study_name=name))
    assert made.inserted_primary_key is not None
    number = int(made.inserted_primary_key[0])
    way = {"study_id": number, "direction": StudyDirection.MAXIMIZE, "objective": 0}
    connection.execute(sa.insert(models.StudyDirectionModel).values(**way))
    return number


def _insert_trials(
    connection: sa.Connection, study: int, ids: range, generator: random.Random
) -> None:
    trials, values, parameters, curves, attributes = [], [], [], [], []
    described = {name: distribution_to_json(each) for name, each in PARAMETERS.items()}
    for number, trial in enumerate(ids):
        begin = START + datetime.timedelta(seconds=SECONDS * number)
        trials.append(
            {
                "trial_id": trial,
                "number": number,
                "study_id": study,
                "state": TrialState.COMPLETE,
                "datetime_start": begin,
                "datetime_complete": begin + datetime.timedelta(seconds=SECONDS),
            }
        )
        best = generator.gauss(0.85, 0.03)
        values.append(_value(trial, best, objective=0))
        curves += [
            {
                "trial_id": trial,
                "step": step,
                "intermediate_value": best * (1.0 - math.exp(-step / 5.0)),
                "intermediate_value_type": FINITE,
            }
            for step in range(1, EPOCHS + 1)
        ]
        parameters += [
            {
                "trial_id": trial,
                "param_name": name,
                "param_value": _drawn(PARAMETERS[name], generator),
                "distribution_json": described[name],
            }
            for name in PARAMETERS
        ]
        attributes.append(
            {"trial_id": trial, "key": "athanor:ended", "value_json": json.dumps("complete")}
        )
    for model, rows in (
        (models.TrialModel, trials),
        (models.TrialValueModel, values),
        (models.TrialIntermediateValueModel, curves),
        (models.TrialParamModel, parameters),
        (models.TrialUserAttributeModel, attributes),
    ):
        connection.execute(sa.insert(model), rows)


def _value(trial: int, value: float, *, objective: int) -> dict[str, object]:
    finite = models.TrialValueModel.TrialValueType.FINITE
    return {"trial_id": trial, "objective": objective, "value": value, "value_type": finite}


def _drawn(distribution: BaseDistribution, generator: random.Random) -> float:
    """Return a parameter as Optuna stores it: a choice by its index."""
    if isinstance(distribution, CategoricalDistribution):
        return generator.randrange(len(distribution.choices))
    if isinstance(distribution, IntDistribution):
        return generator.randint(distribution.low, distribution.high)
    assert isinstance(distribution, FloatDistribution)
    if distribution.log:
        low, high = math.log(distribution.low), math.log(distribution.high)
        return math.exp(generator.uniform(low, high))
    return generator.uniform(distribution.low, distribution.high)
