"""Write runs into TensorBoard's files or an MLflow server, by their own client libraries."""

import importlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from athanor.tracked import TrackedRun
from spaces.errors import InputError

BATCH = 900  # metrics of one request; MLflow takes at most 1000
MOST_PARAMETERS = 100  # of one request
LONGEST = 500  # characters of a parameter's value, of a tag's some thousands


def log_to_tensorboard(runs: Sequence[TrackedRun], folder: Path) -> None:
    """Write a folder of event files, one below it for each run; whole or not at all.

    Raises:
        InputError: the folder exists, or TensorBoard is not installed.
    """
    if folder.exists():
        raise InputError(f"--tensorboard writes a new folder, but {folder} exists")
    _imported("tensorboard", "tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    from workers.files import new_folder

    with new_folder(folder.absolute()) as staging:
        for run in runs:
            with SummaryWriter(str(staging / run.name)) as writer:
                for name, points in run.curves.items():
                    for epoch, value in points:
                        writer.add_scalar(name, value, epoch)
                for name, value in run.figures.items():
                    writer.add_scalar(f"final/{name}", value, 0)
                words = {**run.parameters, **run.tags}
                rows = "\n".join(f"| {name} | {value} |" for name, value in words.items())
                writer.add_text("settings", f"| | |\n|---|---|\n{rows}")


def log_to_mlflow(runs: Sequence[TrackedRun], uri: str) -> None:
    """Log an experiment named as the job, the trials below the job's run.

    Raises:
        InputError: the server is not to be reached, has such an experiment already, or MLflow is
            not installed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody else is told of a job
    mlflow = _imported("mlflow", "mlflow")
    from mlflow.exceptions import MlflowException

    client, (job, *trials) = mlflow.MlflowClient(tracking_uri=uri), runs
    try:
        if client.get_experiment_by_name(job.name) is not None:
            raise InputError(f"an experiment {job.name} must not exist yet, but {uri} has one")
        experiment = client.create_experiment(job.name)
        parent = _log(client, job, experiment=experiment, tags={})
        for trial in trials:
            _log(client, trial, experiment=experiment, tags={"mlflow.parentRunId": parent})
    except MlflowException as failure:
        reason = str(failure).splitlines()[0]
        raise InputError(f"--mlflow must be a tracking server, but {uri}: {reason}") from None


def _log(client: Any, run: TrackedRun, *, experiment: str, tags: dict[str, str]) -> str:
    """Log one run; return its id."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    told = {**{name: value for name, value in run.tags.items() if value}, **tags}
    created = client.create_run(experiment, run_name=run.name, tags=told)
    number: str = created.info.run_id
    parameters = [Param(name, str(value)[:LONGEST]) for name, value in run.parameters.items()]
    metrics = [Metric(name, value, now, 0) for name, value in run.figures.items()]
    metrics += [
        Metric(name, value, now, epoch)
        for name, points in run.curves.items()
        for epoch, value in points
    ]
    for begin in range(0, len(parameters), MOST_PARAMETERS):
        client.log_batch(number, params=parameters[begin : begin + MOST_PARAMETERS])
    for begin in range(0, len(metrics), BATCH):
        client.log_batch(number, metrics=metrics[begin : begin + BATCH])
    client.set_terminated(number)
    return number


def _imported(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(
            f"--{extra} needs {module}, but it is not installed: pip install 'athanor-nas[{extra}]'"
        ) from None
