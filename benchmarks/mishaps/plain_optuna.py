"""The same faults for plain Optuna: heartbeat on, failed trials retried, many workers a study.

The objective sleeps instead of training: what is counted does not depend on what is trained.
"""

import os
import random
import signal
import threading
import time
import warnings
from contextlib import redirect_stderr, suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import MaxTrialsCallback
from optuna.trial import FrozenTrial, TrialState

from benchmarks.mishaps.counting import Count
from benchmarks.mishaps.diary import Diary, Entry, epochs_repeated, read
from benchmarks.mishaps.forks import context, fork
from benchmarks.mishaps.places import Backend, Ground
from benchmarks.mishaps.staff import LOOK_SECONDS

STUDY = "plain"
TRIALS, EPOCHS, EPOCH_SECONDS = 12, 5, 0.2
BEAT_SECONDS, GRACE_SECONDS = 1, 4  # Optuna takes whole seconds
RETRIES = 3
ATTEMPTS_SECONDS = 40.0  # for a study that would be done in ten
WORKERS = 3
Fault = Literal[
    "none",
    "random kills",
    "killed at claim",
    "stopped",
    "hang",
    "poison",
    "database restart",
    "all killed",
]
NOT_LAID = ("none", "random kills", "all killed", "database restart")  # given from outside, or not
BROKEN = 4  # the trial that meets a fault of its own


def _storage(url: str) -> RDBStorage:
    return RDBStorage(
        url,
        heartbeat_interval=BEAT_SECONDS,
        grace_period=GRACE_SECONDS,
        heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
    )


def _origin(trial: FrozenTrial) -> int:
    number = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return trial.number if number is None else number


def _work(url: str, folder: Path, name: str, fault: Fault | None) -> None:
    """Be a worker of the study until enough trials are complete."""
    output = os.open(folder / "messages.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(output, 2)
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    diary = Diary(folder / "diary.jsonl")
    storage = _storage(url)
    if fault == "killed at claim":
        _die_at_claim(storage)
    study = optuna.load_study(study_name=STUDY, storage=storage)

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0.0, 1.0)
        frozen = storage.get_trial(trial._trial_id)
        key = str(_origin(frozen))
        for epoch in range(1, EPOCHS + 1):
            diary.note("epoch", key=key, fence=trial.number, owner=name, epoch=epoch)
            if key == str(BROKEN) and epoch == 2:
                _break(fault, first=trial.number == BROKEN)
            time.sleep(EPOCH_SECONDS)
            trial.report(x * epoch, epoch)
        return x

    study.optimize(objective, callbacks=[MaxTrialsCallback(TRIALS, states=(TrialState.COMPLETE,))])


def _break(fault: Fault | None, *, first: bool) -> None:
    if fault == "stopped" and first:
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault == "hang" and first:
        threading.Event().wait()
    elif fault == "poison":
        os.kill(os.getpid(), signal.SIGSEGV)


def _die_at_claim(storage: RDBStorage) -> None:
    """SIGKILL after a trial is asked for, before its first heartbeat."""
    record = storage.record_heartbeat

    def killed(trial_id: int) -> None:
        if storage.get_trial(trial_id).number == BROKEN:
            os.kill(os.getpid(), signal.SIGKILL)
        record(trial_id)

    vars(storage).update(record_heartbeat=killed)


class _Crew:
    """Workers of one study, started anew when they die, as a supervisor would."""

    def __init__(self, url: str, folder: Path, fault: Fault) -> None:
        self._url, self._folder, self._fault = url, folder, fault
        self.processes: list[ForkServerProcess] = []
        self.started = 0
        for _ in range(WORKERS):
            self.hire()

    def hire(self) -> None:
        self.started += 1
        name = f"worker-{self.started}"
        self.processes.append(fork(_work, self._url, self._folder, name, self._fault))

    @property
    def living(self) -> list[ForkServerProcess]:
        return [process for process in self.processes if process.is_alive()]

    def replace_dead(self, seen: set[int | None]) -> int:
        """Start as many as have died, except well; return how many died of an error."""
        errors = 0
        for process in [p for p in self.processes if not p.is_alive() and p.pid not in seen]:
            seen.add(process.pid)
            if process.exitcode != 0:
                errors += process.exitcode is not None and process.exitcode > 0
                self.hire()
        return errors

    def kill(self) -> None:
        for process in self.living:
            process.kill()
            process.join()


def plain_optuna(ground: Ground, backend: Backend, fault: Fault, *, seed: int, kills: int) -> Count:
    """Give one fault, or a number of kills, to a study of plain Optuna; count what it did."""
    folder = ground.folder / f"optuna-{backend}-{fault.replace(' ', '-')}-{seed}"
    folder.mkdir()
    url = f"sqlite:///{folder}/study.db"
    if backend == "postgresql":
        url = ground.server.url(ground.server.create())
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna.create_study(study_name=STUDY, storage=_storage(url), direction="maximize")
    crew = _Crew(url, folder, fault)
    try:
        faults, errors = _give(ground, crew, folder, fault, kills=kills, dice=random.Random(seed))
    finally:
        crew.kill()
    entries = read(folder / "diary.jsonl")
    study = optuna.load_study(study_name=STUDY, storage=RDBStorage(url))  # on new connections
    return _settle(study, entries, faults=faults, errors=errors)


def _give(
    ground: Ground,
    crew: _Crew,
    folder: Path,
    fault: Fault,
    *,
    kills: int,
    dice: random.Random,
) -> tuple[int, int]:
    """Give the fault while the study runs; return how many were given, and workers that broke."""
    seen: set[int | None] = set()
    epochs = TRIALS * EPOCHS
    points = sorted(dice.randrange(1, epochs) for _ in range(kills))
    faults = errors = 0
    restarted = woken = False
    end = time.monotonic() + ATTEMPTS_SECONDS + kills
    while crew.living and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
        begun = len(read(folder / "diary.jsonl"))
        if fault == "random kills" and points and begun >= points[0]:
            points.pop(0)
            dice.choice(crew.living).kill()
            faults += 1
        elif fault == "all killed" and begun >= epochs // 2 and not faults:
            crew.kill()
            faults += 1
        elif fault == "database restart" and begun >= epochs // 3 and not restarted:
            restarted, faults = True, 1
            ground.server.stop(mode="fast")
            time.sleep(2.0)
            ground.server.start()
        elif fault == "stopped" and not woken:
            asleep = [process for process in crew.living if _asleep(process.pid)]
            others = [process for process in crew.living if process not in asleep]
            if asleep and not others:
                woken = True
                for process in asleep:
                    os.kill(process.pid or 0, signal.SIGCONT)
        errors += crew.replace_dead(seen)
    return max(faults, int(fault not in NOT_LAID)), errors


def _asleep(pid: int | None) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


def _settle(study: optuna.Study, entries: list[Entry], *, faults: int, errors: int) -> Count:
    trials = study.get_trials(deepcopy=False)
    complete: dict[int, int] = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            complete[_origin(trial)] = complete.get(_origin(trial), 0) + 1
    stuck = sum(trial.state == TrialState.RUNNING for trial in trials)
    return Count(
        runs=1,
        faults=faults,
        trials_lost=stuck + max(0, TRIALS - sum(complete.values())),
        double_results=sum(times - 1 for times in complete.values()),
        epochs_repeated_max=epochs_repeated(entries),
        errors=errors,
        notes={
            "over_budget": max(0, sum(complete.values()) - TRIALS),
            "trials_for_12": len(trials),
        },
    )


def claimed_at_once(ground: Ground, backend: Backend, *, claimers: int, trials: int) -> Count:
    """Let so many processes take so many queued trials, as a study's workers do."""
    folder = ground.folder / f"optuna-claims-{backend}"
    folder.mkdir()
    url = f"sqlite:///{folder}/study.db"
    if backend == "postgresql":
        url = ground.server.url(ground.server.create())
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name=STUDY, storage=RDBStorage(url))
    for number in range(trials):
        study.enqueue_trial({"x": number})
    together, answers = context.Barrier(claimers), context.SimpleQueue()
    processes = [fork(_claim, url, trials, together, answers) for _ in range(claimers)]
    found = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    taken = [number for numbers, _ in found for number in numbers if number < trials]
    return Count(
        runs=1,
        trials_lost=trials - len(set(taken)),
        double_results=len(taken) - len(set(taken)),
        errors=sum(failure is not None for _, failure in found),
        notes={"claimers": claimers, "claims": len(taken)},
    )


def _claim(url: str, trials: int, together: Any, answers: Any) -> None:
    study = optuna.load_study(study_name=STUDY, storage=RDBStorage(url))
    numbers: list[int] = []
    failure = None
    together.wait()
    with open(os.devnull, "w") as nothing, redirect_stderr(nothing):
        try:
            while not numbers or numbers[-1] < trials:
                numbers.append(study.ask().number)
        except Exception as caught:  # counted
            failure = repr(caught)
    answers.put((numbers, failure))
