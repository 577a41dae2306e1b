"""Worker slots on a Ray cluster: Ray Tune places and restarts them, the store decides the rest.

Each trial of Tune is a slot: it starts the same worker process as a local pool does, and tells Tune
now and then how much has been done. Sampling, pruning, curves and takeover stay with Optuna and the
store; Tune's own searchers and schedulers are not used.
"""

import errno
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.stopper import Stopper
from sqlalchemy.exc import SQLAlchemyError

from search.store import StudyStore
from spaces.errors import AthanorError, JobFailed, StoreError
from workers.pool import LOCAL, LocalPool, RaySlots, WorkerCommand

LOOPBACK = "127.0.0.1"
STOP = "stop"  # the file that ends the experiment
REPORT_SECONDS = 2.0
WATCH_SECONDS = 0.2
STOP_SECONDS = 30.0  # for Tune to stop its slots
LASTING = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR)  # another start does not help


class _Stop(Stopper):
    """Ends the experiment once a file is there: Tune pickles its stopper, an event cannot be."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.stop_all()

    def stop_all(self) -> bool:
        """Whether all slots should end."""
        return self._file.exists()


def run_slot(config: dict[str, Any]) -> None:
    """Keep one worker alive until it has nothing left to do; this is what Tune runs.

    Args:
        config: `slot`, its number, and the fields of a `WorkerCommand` in JSON.
    """
    command = WorkerCommand.from_config(config["command"])
    try:
        store = StudyStore(command.store_url, wait=_wait, tell=_tell)
        with (
            closing(store),
            LocalPool(command, store=store, size=1) as pool,
        ):
            reported = float("-inf")
            while not pool.finished:
                pool.watch()
                if time.monotonic() - reported > REPORT_SECONDS:
                    reported = time.monotonic()
                    tune.report({"slot": config["slot"], "workers": pool.workers})
                time.sleep(WATCH_SECONDS)
        tune.report({"slot": config["slot"]})
    except (JobFailed, StoreError, OSError) as failure:
        lasting = not isinstance(failure, OSError) or failure.errno in LASTING
        if command.job_id is None or not lasting:  # services outlive their database's trouble
            _tell(f"slot {config['slot']} starts again: {failure}")
            time.sleep(REPORT_SECONDS)
            raise  # Tune starts the slot again
        tune.report({"slot": config["slot"], "failure": str(failure)})
    except AthanorError as failure:  # Tune would start the slot again for ever
        tune.report({"slot": config["slot"], "failure": str(failure)})


def _wait(seconds: float) -> bool:
    """Be patient with a store that is away; Tune ends the process if the slot is to end."""
    time.sleep(seconds)
    return False


def _tell(message: str) -> None:
    print(message, flush=True)  # into Tune's log of the slot


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's handlers: Ray installs its own, and SIGTERM would end us at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Ray leaves the handlers alone
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class RayPool:
    """As many worker slots as asked for, on a Ray cluster; used like a `LocalPool`."""

    def __init__(self, command: WorkerCommand, *, size: int, slots: RaySlots) -> None:
        share = min(1.0, slots.gpus) or 1.0
        self._command = replace(command, gpu_share=share)
        self._size, self._wanted = size, slots
        self._folder = Path(tempfile.mkdtemp(prefix="athanor-tune-"))
        self._failure: BaseException | None = None
        self._results: tune.ResultGrid | None = None
        self._thread = threading.Thread(target=self._fit, name="tune", daemon=True)

    def __enter__(self) -> "RayPool":
        self._connect()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def finished(self) -> bool:
        """Whether every slot has ended by itself, with nothing left to do."""
        return not self._thread.is_alive()

    @property
    def results(self) -> tune.ResultGrid:
        """What Tune recorded: one result a slot. Only once the pool has finished."""
        assert self._results is not None, "the pool must have finished"
        return self._results

    def watch(self) -> None:
        """Raise `JobFailed` if Tune or a slot has given up; restarts are their own affair."""
        if not self.finished:
            return
        if self._failure is not None:
            raise JobFailed(f"Ray Tune must keep its slots running, but: {self._failure}")
        for slot in range(len(self.results)):
            metrics = self.results[slot].metrics or {}
            if "failure" in metrics:
                raise JobFailed(metrics["failure"])

    def stop(self) -> None:
        """End all slots; what their workers held goes to others."""
        (self._folder / STOP).touch()
        self._thread.join(STOP_SECONDS)
        ray.shutdown()
        self._bury()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _bury(self) -> None:
        """Give to others what the workers held: Ray kills them, and they can give nothing back."""
        if self._results is None:
            return
        reported = [self._results[slot].metrics or {} for slot in range(len(self._results))]
        # if the store is away, their leases run out by themselves
        with (
            suppress(SQLAlchemyError, StoreError),
            closing(StudyStore(self._command.store_url)) as store,
        ):
            for worker in chain.from_iterable(each.get("workers", ()) for each in reported):
                store.beats.bury(worker, reason="its pool was stopped")

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        with _own_signals():
            if self._wanted.address == LOCAL:  # for Ray, too, that is a cluster of our own
                cpus = max(1, round(self._size * self._wanted.cpus))
                ray.init(
                    address=LOCAL,
                    num_cpus=cpus,
                    include_dashboard=False,
                    _node_ip_address=LOOPBACK,
                    log_to_driver=False,
                )
            else:
                ray.init(address=self._wanted.address, log_to_driver=False)

    def _fit(self) -> None:
        try:
            self._results = self._tuner().fit()
        except BaseException as failure:  # told by `watch`: nobody sees a thread's exception
            self._failure = failure

    def _tuner(self) -> tune.Tuner:
        resources = {"cpu": self._wanted.cpus, "gpu": self._wanted.gpus}
        return tune.Tuner(
            tune.with_resources(run_slot, resources),
            param_space={
                "slot": tune.grid_search(list(range(self._size))),
                "command": self._command.to_config(),
            },
            run_config=tune.RunConfig(
                name="athanor",
                storage_path=str(self._folder),
                stop=_Stop(self._folder / STOP),
                failure_config=tune.FailureConfig(max_failures=-1),
                verbose=0,
            ),
        )
