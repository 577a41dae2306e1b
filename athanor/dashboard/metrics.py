"""Figures for Prometheus, read from the store when they are asked for."""

import time
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from athanor.dashboard.overview import JobCard, Watcher
from search.store import StudyStore


class StoreMetrics(Collector):
    """Jobs, trials, workers, epochs and leases of a store.

    Trials and epochs are those of jobs that have not ended, whose figures still move.
    """

    def __init__(self, store: StudyStore, watcher: Watcher) -> None:
        self._store, self._watcher = store, watcher

    def describe(self) -> list[Metric]:
        """Return nothing, so that nothing is read before it is asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read the store."""
        begin = time.perf_counter()
        states = self._store.jobs.states()
        seconds = time.perf_counter() - begin
        yield GaugeMetricFamily(
            "athanor_store_seconds", "How long a short query of the store took.", value=seconds
        )
        jobs = GaugeMetricFamily("athanor_jobs", "Jobs by state.", labels=["state"])
        for state, count in states.items():
            jobs.add_metric([state], count)
        yield jobs
        queue = states.get("queued", 0)
        yield GaugeMetricFamily("athanor_queue", "Jobs that nobody has begun.", value=queue)
        overview = self._watcher.overview()
        workers = GaugeMetricFamily("athanor_workers", "Workers alive.", labels=["device", "busy"])
        alive = Counter((w.device, str(w.job_id is not None).lower()) for w in overview.workers)
        for labels, count in alive.items():
            workers.add_metric(list(labels), count)
        yield workers
        yield from _of_jobs(overview.cards)
        takeovers = CounterMetricFamily(
            "athanor_lease_takeovers",
            "Times that a trial or fold which somebody had begun went on with another claim.",
            labels=["job"],
        )
        for job, count in self._store.leases.takeovers().items():
            takeovers.add_metric([job], count)
        yield takeovers


def _of_jobs(cards: list[JobCard]) -> Iterator[Metric]:
    trials = GaugeMetricFamily("athanor_trials", "Trials by state.", labels=["job", "state"])
    epochs = CounterMetricFamily(
        "athanor_epochs", "Epochs of trials and folds that were reported.", labels=["job"]
    )
    used = CounterMetricFamily("athanor_job_seconds", "Seconds used of a job.", labels=["job"])
    for card in cards:
        for state, count in card.states:
            trials.add_metric([card.job.id, state], count)
        epochs.add_metric([card.job.id], _epochs(card))
        used.add_metric([card.job.id], card.job.seconds_used)
    yield from (trials, epochs, used)


def _epochs(card: JobCard) -> float:
    """Count the epochs that a job's trials and folds have trained, as far as they were told."""
    in_trials = sum(max(record.curve, default=0) for record in card.progress.trials)
    in_folds = sum((task.report or {}).get("epochs", 0.0) for task in card.progress.folds)
    return float(in_trials + in_folds)


def metrics_text(store: StudyStore, watcher: Watcher) -> bytes:
    """Return all figures in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StoreMetrics(store, watcher))
    return generate_latest(registry)
