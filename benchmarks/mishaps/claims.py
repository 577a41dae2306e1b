"""Many processes claim queued trials at once."""

from collections import Counter
from typing import Any

from benchmarks.mishaps.counting import MINUTE, Count, spec
from benchmarks.mishaps.forks import context, fork
from benchmarks.mishaps.places import Backend, Ground, Place
from search.job import Job

WAIT_SECONDS = 120.0  # for all processes to be there


def claimed_at_once(ground: Ground, backend: Backend, *, claimers: int, trials: int) -> Count:
    """Let so many processes take so many queued trials: each trial must be taken once.

    A worker's way is: ask for a trial, claim its lease. Workers ask one after the other, under a
    lease of their own; these do so all at once.
    """
    place = ground.place(backend, f"claims-{backend}")
    store = place.store()
    job = store.jobs.create(spec(MINUTE, trials=trials))
    for number in range(trials):
        store.trials(job).study.enqueue_trial({"x": number})
    together, answers = context.Barrier(claimers), context.SimpleQueue()
    processes = [fork(_claim, place, job, f"{n}", together, answers) for n in range(claimers)]
    found = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    taken = Counter(number for numbers, _ in found for number in numbers)
    records = [record for record in store.trials(job).records() if record.state != "infeasible"]
    store.close()
    return Count(
        runs=1,
        trials_lost=trials - len(taken),
        double_results=sum(times - 1 for times in taken.values()) + len(records) - trials,
        errors=sum(failure is not None for _, failure in found),
        notes={"claimers": claimers, "claims": sum(taken.values())},
    )


def _claim(place: Place, job: Job, name: str, together: Any, answers: Any) -> None:
    store = place.store()
    trials, numbers, failure = store.trials(job), [], None
    together.wait(WAIT_SECONDS)
    try:
        while (trial := trials.ask()).number < (job.spec.trials or 0):
            lease = store.leases.claim(f"{job.id}/trial/{trial.number}", owner=name)
            if lease is not None:
                numbers.append(trial.number)
        trials.tell(trial, "infeasible")  # the one after the last that was queued
    except Exception as caught:  # counted: no error may come through
        failure = repr(caught)
    answers.put((numbers, failure))
    store.close()
