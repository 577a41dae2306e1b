"""The jobs table: what was asked, how far each job is, what its budget has been used for."""

import builtins
import uuid
from collections import Counter
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from search.job import ENDED, Job, JobState
from search.job_spec import JobSpec
from search.plan import Plan
from search.store.database import Table, clock, insert_new
from search.store.leases import live_keys
from search.store.patience import patient
from search.store.tables import jobs, leases
from spaces.errors import JobError

MAX_TICK = 5.0  # seconds; a longer silence means that nobody worked, so it is not counted
ROUNDING = 0.5  # seconds between the clocks of a process and of a database


class Jobs(Table):
    """Create, read and move jobs; every change of state names the state it starts from."""

    def create(
        self, spec: JobSpec, *, seconds_used: float = 0.0, processor_seconds: float = 0.0
    ) -> Job:
        """Queue a job; so many seconds by the clock, and of processors, were spent on it before."""
        job_id = f"{spec.title}-{uuid.uuid4().hex[:6]}"
        used = {"seconds_used": seconds_used, "processor_seconds": processor_seconds}
        self._create(job_id, spec, used)
        return self.get(job_id)

    @patient
    def _create(self, job_id: str, spec: JobSpec, used: dict[str, float]) -> None:
        row: dict[str, Any] = {
            "id": job_id,
            "state": "queued",
            "priority": spec.priority,
            "spec": spec.to_json(),
            "phases": {"queued": 0.0},
            "processor_phases": {"queued": 0.0},
            **used,
            "paused": False,
        }
        with self._engine.begin() as connection:
            now = {"created_at": clock(), "ticked_at": clock()}
            insert_new(connection, jobs, {**row, **now})

    def get(self, job_id: str) -> Job:
        """Return a job by its id; `JobError` names the jobs there are if it is not one."""
        job = self.find(job_id)
        if job is None:
            known = [job.id for job in self.list()][:5]
            latest = f"the latest are {', '.join(known)}" if known else "the store holds none"
            raise JobError(f"no job {job_id!r} in this store; {latest}")
        return job

    @patient
    def find(self, job_id: str) -> Job | None:
        """Return a job by its id, or None if it was deleted."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).one_or_none()
        return None if row is None else Job.from_row(row)

    @patient
    def list(self) -> list[Job]:
        """Return all jobs, the newest first."""
        query = sa.select(jobs).order_by(jobs.c.created_at.desc())
        with self._engine.connect() as connection:
            return [Job.from_row(row) for row in connection.execute(query)]

    @patient
    def under_way(self) -> builtins.list[Job]:
        """Return the jobs that have not ended: first those that have begun, then as they queue."""
        waits = jobs.c.state == "queued"
        query = sa.select(jobs).where(jobs.c.state.not_in(ENDED))
        query = query.order_by(waits, jobs.c.priority.desc(), jobs.c.created_at)
        with self._reader.connect() as connection:
            return [Job.from_row(row) for row in connection.execute(query)]

    @patient
    def latest_ended(self, count: int) -> builtins.list[Job]:
        """Return the jobs that have ended, the newest first, at most `count`."""
        query = sa.select(jobs).where(jobs.c.state.in_(ENDED))
        query = query.order_by(jobs.c.created_at.desc()).limit(count)
        with self._reader.connect() as connection:
            return [Job.from_row(row) for row in connection.execute(query)]

    @patient
    def states(self) -> dict[JobState, int]:
        """Count the jobs by state."""
        query = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)
        with self._reader.connect() as connection:
            return {state: count for state, count in connection.execute(query)}

    @patient
    def next(self, *, without: Collection[str] = ()) -> Job | None:
        """Return the job to work on: by priority, then the one that has the fewest workers.

        Of those, the one that was submitted first; never one of `without`.
        """
        query = (
            sa.select(jobs)
            .where(jobs.c.state.not_in(ENDED), jobs.c.paused.is_(False))
            .where(jobs.c.id.not_in(without))
            .order_by(jobs.c.priority.desc(), jobs.c.created_at)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
            busy = Counter(key.split("/", 1)[0] for key in live_keys(connection))
        row = min(rows, key=lambda row: (-row.priority, busy[row.id]), default=None)
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
        """End a job as failed or cancelled, wherever it is; False if it has ended or is gone."""
        return self._move(job_id, jobs.c.state.not_in(ENDED), after=state, error=error)

    @patient
    def pause(self, job_id: str, *, paused: bool) -> bool:
        """Let a job rest, or go on; False if it has ended or is so already."""
        change = (
            sa.update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state.not_in(ENDED), jobs.c.paused != paused)
            .values(paused=paused)
        )
        with self._engine.begin() as connection:
            return bool(connection.execute(change).rowcount)

    @patient
    def delete(self, job_id: str) -> None:
        """Forget a job, its folds and its leases; openings of its test set are kept."""
        mine = leases.c.key.startswith(f"{job_id}/", autoescape=True)
        with self._engine.begin() as connection:
            connection.execute(sa.delete(leases).where(mine))
            connection.execute(sa.delete(jobs).where(jobs.c.id == job_id))

    @patient
    def _move(
        self, job_id: str, condition: sa.ColumnElement[bool], *, after: JobState, **values: Any
    ) -> bool:
        with self._engine.begin() as connection:
            row = connection.execute(
                sa.select(jobs).where(jobs.c.id == job_id, condition).with_for_update()
            ).one_or_none()
            if row is None:
                return False
            phases = {**row.phases, after: row.seconds_used}
            processor = {**row.processor_phases, after: row.processor_seconds}
            change = sa.update(jobs).where(jobs.c.id == job_id)
            change = change.values(state=after, phases=phases, processor_phases=processor)
            connection.execute(change.values(**values))
            return True

    @patient
    def tick(self, job_id: str, *, processor_seconds: float = 0.0) -> float:
        """Count the time since the last tick of anyone as used; return all seconds used.

        However many processes work on a job, and tick, each second counts once; none counts
        while it is paused.

        Args:
            processor_seconds: that the caller has worked on the job since it last said so.
        """
        with self._engine.begin() as connection:
            return count_time(connection, job_id, processor_seconds=processor_seconds)


def count_time(
    connection: sa.Connection,
    job_id: str,
    *,
    processor_seconds: float = 0.0,
    alive: float = 0.0,
) -> float:
    """Count a job's time within a transaction; see `Jobs.tick`.

    Args:
        processor_seconds: that a process has worked on the job since it last said so.
        alive: seconds since its own last tick for which the caller knows that it lived and the
            database was there, if slow: so long a silence counts as well.
    """
    elapsed = clock() - jobs.c.ticked_at
    longest = max(MAX_TICK, alive + ROUNDING)
    idle = sa.or_(jobs.c.paused, elapsed > longest, elapsed < 0.0)
    counted = sa.case((idle, 0.0), else_=elapsed)
    change = (
        sa.update(jobs)
        .where(jobs.c.id == job_id)
        .values(
            seconds_used=jobs.c.seconds_used + counted,
            processor_seconds=jobs.c.processor_seconds + processor_seconds,
            ticked_at=clock(),
        )
    )
    connection.execute(change)
    used = connection.scalar(sa.select(jobs.c.seconds_used).where(jobs.c.id == job_id))
    return float(used or 0.0)
