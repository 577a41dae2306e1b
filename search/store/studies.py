"""Optuna's studies as a whole: their names and attributes, read without their trials."""

import json
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from optuna.storages._rdb import models
from optuna.study import StudyDirection

from search.store.database import Table
from search.store.patience import patient

studies = models.StudyModel.__table__
directions = models.StudyDirectionModel.__table__
user_attributes = models.StudyUserAttributeModel.__table__
system_attributes = models.StudySystemAttributeModel.__table__


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study without its trials.

    Attributes:
        number: by which Optuna's tables refer to it; SQLite gives that of a deleted one again.
        name: that of the job, for ever its own.
    """

    number: int
    name: str
    directions: list[StudyDirection] = field(default_factory=list)
    user_attributes: dict[str, Any] = field(default_factory=dict)


class Studies(Table):
    """Reads what Optuna's own calls would read together with every note on every trial."""

    @patient
    def names(self) -> dict[int, str]:
        """Return the names of all studies, which are those of their jobs, by their numbers."""
        query = sa.select(studies.c.study_id, studies.c.study_name).order_by(studies.c.study_id)
        with self._reader.connect() as connection:
            return {row.study_id: row.study_name for row in connection.execute(query)}

    @patient
    def exists(self, name: str) -> bool:
        """Whether there is a study of this name."""
        query = sa.select(studies.c.study_id).where(studies.c.study_name == name)
        with self._reader.connect() as connection:
            return connection.scalar(query) is not None

    def all(self) -> list[StudyRecord]:
        """Return all studies by number."""
        return self._read(sa.true())

    def find(self, number: int) -> StudyRecord | None:
        """Return a study, or None if it is gone."""
        return next(iter(self._read(studies.c.study_id == number)), None)

    @patient
    def _read(self, which: sa.ColumnElement[bool]) -> list[StudyRecord]:
        here = sa.select(studies.c.study_id).where(which)
        with self._reader.connect() as connection:
            rows = connection.execute(sa.select(studies).where(which).order_by(studies.c.study_id))
            found = {row.study_id: StudyRecord(row.study_id, row.study_name) for row in rows}
            query = sa.select(directions).where(directions.c.study_id.in_(here))
            for row in connection.execute(query.order_by(directions.c.objective)):
                found[row.study_id].directions.append(row.direction)
            query = sa.select(user_attributes).where(user_attributes.c.study_id.in_(here))
            for row in connection.execute(query):
                found[row.study_id].user_attributes[row.key] = json.loads(row.value_json)
        return list(found.values())

    @patient
    def system_attributes(self, number: int) -> dict[str, str]:
        """Return a study's system attributes as the JSON that is stored: notes, for the most."""
        query = sa.select(system_attributes.c.key, system_attributes.c.value_json)
        with self._reader.connect() as connection:
            rows = connection.execute(query.where(system_attributes.c.study_id == number))
            return {row.key: row.value_json for row in rows}
