"""What the store has of a job is what TensorBoard and MLflow are told, by their own clients."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from athanor.tracked import TrackedRun, tracked_runs
from athanor.trackers import log_to_mlflow, log_to_tensorboard
from search.job import Job
from search.job_spec import JobSpec
from search.store import StudyStore
from spaces.errors import InputError, JobError
from tests.small_job import bench_of, prepared, take_steps
from workers.files import JobFiles

RUNS = (
    TrackedRun("job", {"data": "digits"}, {"seconds": 5.0}, {}, {"state": "done", "error": ""}),
    TrackedRun(
        "trial-0",
        {"width": 8, "block": "plain"},
        {"accuracy": 0.75},
        {"train_loss": ((1, 2.0), (2, 1.5)), "validation": ((2, 0.75),)},
        {"state": "complete"},
    ),
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StudyStore, Job, Path]]:
    folder = tmp_path_factory.mktemp("tracked")
    store, job, worker = prepared(folder, trials=2)
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching")
    yield store, store.jobs.get(job.id), folder
    store.close()


def test_runs_have_the_store_s_figures(ran: tuple[StudyStore, Job, Path]) -> None:
    store, job, folder = ran
    files = JobFiles(folder / "artifacts", job.id)
    of_job, *of_trials = tracked_runs(store, job.id, files=files)
    assert of_job.figures["seconds"] == job.seconds_used
    assert of_job.parameters["data"] == "digits" and of_job.tags["state"] == "landing"
    records = [record for record in store.trials(job).records() if not record.open]
    assert [run.name for run in of_trials] == [f"trial-{record.number}" for record in records]
    for run, record in zip(of_trials, records, strict=True):
        assert run.figures["accuracy"] == record.score
        assert dict(run.curves["validation"]) == record.curve
        assert run.tags["state"] == record.state and "optimizer" in run.parameters
        assert len(run.curves["train_loss"]) == 1


def test_a_job_that_has_not_begun_has_no_runs(ran: tuple[StudyStore, Job, Path]) -> None:
    store, _, folder = ran
    queued = store.jobs.create(JobSpec.parse({"data": "digits", "trials": 1}))
    with pytest.raises(JobError, match="only a job that has begun has runs"):
        tracked_runs(store, queued.id, files=JobFiles(folder, queued.id))


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "events"
    log_to_tensorboard(RUNS, folder)
    assert {path.name for path in folder.iterdir()} == {"job", "trial-0"}
    events = EventAccumulator(str(folder / "trial-0"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train_loss")] == [(1, 2.0), (2, 1.5)]
    assert [e.value for e in events.Scalars("final/accuracy")] == [0.75]
    with pytest.raises(InputError, match="writes a new folder, but"):
        log_to_tensorboard(RUNS, folder)


@pytest.mark.slow  # it makes tables by some sixty migrations
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # MLflow's own
def test_mlflow_reads_what_was_logged(tmp_path: Path) -> None:
    import mlflow

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    log_to_mlflow(RUNS, uri)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("job")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    trial = runs["trial-0"]
    assert trial.data.params == {"width": "8", "block": "plain"}
    assert trial.data.metrics["accuracy"] == 0.75
    assert trial.data.tags["mlflow.parentRunId"] == runs["job"].info.run_id
    history = client.get_metric_history(trial.info.run_id, "train_loss")
    assert sorted((each.step, each.value) for each in history) == [(1, 2.0), (2, 1.5)]
    with pytest.raises(InputError, match="an experiment job must not exist yet"):
        log_to_mlflow(RUNS, uri)


def test_what_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError, match=r"pip install 'athanor-nas\[mlflow\]'"):
        log_to_mlflow(RUNS, f"sqlite:///{tmp_path}/mlflow.db")
