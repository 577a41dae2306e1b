"""The jobs table: what was asked, how far each job is, what its budget has been used for."""

import uuid
from typing import Any

import sqlalchemy as sa

from search.job import ENDED, Job, JobSpec, JobState
from search.plan import Plan
from search.store.engine import clock
from search.store.tables import jobs
from spaces.errors import JobError

MAX_TICK = 5.0  # seconds; a longer silence means that nobody worked, so it is not counted


class Jobs:
    """Create, read and move jobs; every change of state names the state it starts from."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def create(self, spec: JobSpec, *, seconds_used: float = 0.0) -> Job:
        """Queue a job; `seconds_used` of its budget were spent before this call."""
        job_id = f"{spec.title}-{uuid.uuid4().hex[:6]}"
        row: dict[str, Any] = {
            "id": job_id,
            "state": "queued",
            "priority": spec.priority,
            "spec": spec.to_json(),
            "seconds_used": seconds_used,
            "trials_asked": 0,
            "phases": {"queued": 0.0},
        }
        with self._engine.begin() as connection:
            now = {"created_at": clock(), "ticked_at": clock()}
            connection.execute(sa.insert(jobs).values(**row, **now))
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        """Return a job by its id; `JobError` names the jobs there are if it is not one."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).one_or_none()
        if row is None:
            known = [job.id for job in self.list()][:5]
            latest = f"the latest are {', '.join(known)}" if known else "the store holds none"
            raise JobError(f"no job {job_id!r} in this store; {latest}")
        return Job.from_row(row)

    def list(self) -> list[Job]:
        """Return all jobs, the newest first."""
        query = sa.select(jobs).order_by(jobs.c.created_at.desc())
        with self._engine.connect() as connection:
            return [Job.from_row(row) for row in connection.execute(query)]

    def next(self) -> Job | None:
        """Return the job to work on: by priority, then the one that was submitted first."""
        query = (
            sa.select(jobs)
            .where(jobs.c.state.not_in(ENDED))
            .order_by(jobs.c.priority.desc(), jobs.c.created_at)
            .limit(1)
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Job.from_row(row)

    def move(self, job_id: str, *, before: JobState, after: JobState, **values: Any) -> bool:
        """Move a job from one state to the next and record when; False if it is elsewhere."""
        return self._move(job_id, jobs.c.state == before, after=after, **values)

    def set_plan(self, job_id: str, plan: Plan) -> bool:
        """Write the plan and let the search begin; False if the job is not being prepared."""
        return self.move(job_id, before="preparing", after="searching", plan=plan.to_json())

    def finish(self, job_id: str, *, result: dict[str, Any]) -> bool:
        """Record the result of a job whose model folder has been written."""
        return self.move(job_id, before="assembling", after="done", result=result)

    def stop(self, job_id: str, *, state: JobState, error: str | None = None) -> bool:
        """End a job as failed or cancelled, wherever it is; False if it has ended already."""
        self.get(job_id)
        return self._move(job_id, jobs.c.state.not_in(ENDED), after=state, error=error)

    def _move(
        self, job_id: str, condition: sa.ColumnElement[bool], *, after: JobState, **values: Any
    ) -> bool:
        with self._engine.begin() as connection:
            row = connection.execute(
                sa.select(jobs).where(jobs.c.id == job_id, condition)
            ).one_or_none()
            if row is None:
                return False
            phases = {**row.phases, after: row.seconds_used}
            change = sa.update(jobs).where(jobs.c.id == job_id)
            connection.execute(change.values(state=after, phases=phases, **values))
            return True

    def tick(self, job_id: str) -> float:
        """Count the time since the last tick of anyone as used; return all seconds used.

        However many processes work on a job, and tick, each second counts once.
        """
        elapsed = clock() - jobs.c.ticked_at
        counted = sa.case((elapsed > MAX_TICK, 0.0), (elapsed < 0.0, 0.0), else_=elapsed)
        change = (
            sa.update(jobs)
            .where(jobs.c.id == job_id)
            .values(seconds_used=jobs.c.seconds_used + counted, ticked_at=clock())
        )
        with self._engine.begin() as connection:
            connection.execute(change)
            used = connection.scalar(sa.select(jobs.c.seconds_used).where(jobs.c.id == job_id))
        return float(used or 0.0)

    def take_trial_slot(self, job_id: str, *, limit: int | None) -> bool:
        """Count one more trial as asked for; False once `limit` have been."""
        change = sa.update(jobs).where(jobs.c.id == job_id)
        if limit is not None:
            change = change.where(jobs.c.trials_asked < limit)
        with self._engine.begin() as connection:
            taken = connection.execute(change.values(trials_asked=jobs.c.trials_asked + 1))
            return bool(taken.rowcount)

    def give_trial_slot_back(self, job_id: str) -> None:
        """Count one trial less: it was infeasible, so another one may be asked for."""
        change = sa.update(jobs).where(jobs.c.id == job_id)
        with self._engine.begin() as connection:
            connection.execute(change.values(trials_asked=jobs.c.trials_asked - 1))

    def return_trial_slots(self, job_id: str, *, asked: int, limit: int) -> bool:
        """Set the count to the trials there are, if a worker died between counting and asking.

        Returns whether there are trials left to ask for, of `limit`.
        """
        change = sa.update(jobs).where(jobs.c.id == job_id).values(trials_asked=asked)
        with self._engine.begin() as connection:
            connection.execute(change)
        return asked < limit
