"""A job's Optuna study: ask for trials, report epochs, tell ends, read the leaderboard."""

from dataclasses import asdict
from typing import Any, Literal

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from search.attributes import (
    BASELINE,
    CANDIDATE,
    COSTS,
    CURVE,
    DRAWS,
    ENDED,
    ERROR,
    FILES,
    JOULES,
    NOTE,
    PACE,
    RIGHT,
    RUNG,
    SECONDS,
    VERDICT,
    cost_of,
    curve_of,
)
from search.baselines import BASELINES, Baseline
from search.job import Job
from search.metrics import METRICS
from search.pruning import make_pruner
from search.sampling import make_sampler
from search.store.annotations import Annotations
from search.store.patience import Patience, patient
from search.store.records import TrialRecord, ranked
from spaces.canonical import canonical
from spaces.errors import JobError
from spaces.limits import Complexity
from spaces.recipe import Candidate

Ending = Literal[
    "complete",
    "copied",
    "pruned",
    "infeasible",
    "diverged",
    "out of memory",
    "out of time",
    "failed",
]


class Trials:
    """The trials of one job; the only reader and writer of study and trial attributes."""

    def __init__(
        self,
        storage: BaseStorage,
        job: Job,
        *,
        study: str,
        patience: Patience,
        create: bool = True,
    ) -> None:
        self._job, self._name, self._storage, self.patience = job, study, storage, patience
        self._finished: dict[int, TrialRecord] = {}  # they change no more: read once
        self._indexed: set[int] = set()  # of these, the ones that have been looked at for
        self._complete: dict[Candidate, TrialRecord] = {}  # by what they train
        self._baselines: list[Baseline] = []
        self.study = self._create() if create else self._load()
        self.annotations = Annotations(self.study, storage, patience)

    @patient
    def _load(self) -> optuna.Study:
        try:
            return optuna.load_study(study_name=self._name, storage=self._storage)
        except KeyError:
            raise JobError(f"{self._job.id} has no study yet") from None

    @patient
    def _create(self) -> optuna.Study:
        spec = self._job.spec
        pruner = make_pruner(spec.pruning, epochs=spec.epochs, keep=spec.keep, cost=spec.minimize)
        study = optuna.create_study(
            study_name=self._name,
            storage=self._storage,
            sampler=make_sampler(spec.strategy, seed=spec.seed),
            pruner=pruner,
            directions=["maximize"] if spec.minimize is None else ["maximize", "minimize"],
            load_if_exists=True,
        )
        if spec.minimize is not None and study.metric_names is None:
            plan = self._job.plan
            metric = spec.metric or ("accuracy" if plan is None else plan.metric)
            study.set_metric_names([METRICS[metric].label, spec.minimize])
        return study

    def enqueue(self, parameters: dict[str, Any], *, again: bool = False) -> None:
        """Queue a trial with given parameters, whose other parameters are sampled.

        Args:
            again: even if there is, or was, one with just the same in the queue.
        """
        self.study.enqueue_trial(parameters, skip_if_exists=not again)

    def ask(self) -> Trial:
        """Start a new trial, a queued one first.

        Not repeated when the database is away: the trial may have been made all the same, and
        is then found among those that nobody holds.
        """
        return self.study.ask()

    @patient
    def running(self) -> list[int]:
        """Return the numbers of the trials that have not ended, the oldest first."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial.number for trial in running]

    @patient
    def open(self, number: int) -> Trial:
        """Return a new handle on a trial, which knows all that is stored of it now."""
        stored = self.study.get_trials(deepcopy=False)[number]
        return Trial(self.study, stored._trial_id)

    @patient
    def ended(self, trial: Trial) -> bool:
        """Whether a trial has ended, as the store has it now."""
        return self._storage.get_trial(trial._trial_id).state.is_finished()

    @patient
    def describe(
        self, trial: Trial, candidate: Candidate, complexity: Complexity | None = None
    ) -> None:
        """Write what a trial trains, and what it costs unless that is written already."""
        trial.set_user_attr(CANDIDATE, candidate.to_json())
        if complexity is not None:
            costs = {name: cost for name, cost in asdict(complexity).items() if cost is not None}
            trial.set_user_attr(COSTS, costs)

    @patient
    def record_baseline(self, baseline: Baseline) -> None:
        """Write what a simple model reached."""
        self.study.set_user_attr(f"{BASELINE}{baseline.name}", asdict(baseline))

    @patient
    def baselines(self) -> list[Baseline]:
        """Return what simple models reached, as far as they have been measured, in their order."""
        if len(self._baselines) < len(BASELINES):
            kept = self.study.user_attrs
            known = [kept[f"{BASELINE}{n}"] for n in BASELINES if f"{BASELINE}{n}" in kept]
            self._baselines = [Baseline(**each) for each in known]
        return self._baselines

    @patient
    def add_joules(self, joules: float) -> None:
        """Count energy that a machine took while the job was worked on there."""
        known = self.study.user_attrs.get(f"{JOULES}{self._job.id}", 0.0)
        self.study.set_user_attr(f"{JOULES}{self._job.id}", round(known + joules, 1))

    @patient
    def joules(self) -> float | None:
        """Return the energy that was counted for the job, if any could be."""
        found: float | None = self.study.user_attrs.get(f"{JOULES}{self._job.id}")
        return found

    @patient
    def latency(self, trial: Trial) -> float | None:
        """Return the seconds that a former holder of the trial has measured, if one has."""
        return cost_of(self._storage.get_trial(trial._trial_id), "latency")

    @patient
    def describe_pace(self, trial: Trial, *, train: float, predict: float) -> None:
        """Write how long training on and predicting one image took, in seconds."""
        trial.set_user_attr(PACE, {"train": train, "predict": predict})

    def copy(self, original: TrialRecord, trial: Trial) -> None:
        """Write of a trial what an equal one has shown: how sure it is, how fast, what is right."""
        self.describe_score(trial, error=original.error, right=original.right, draws=original.draws)
        if original.train_pace is not None and original.predict_pace is not None:
            self.describe_pace(trial, train=original.train_pace, predict=original.predict_pace)
        if original.latency is not None:
            self._set_latency(trial, original.latency)

    @patient
    def _set_latency(self, trial: Trial, seconds: float) -> None:
        costs = self._storage.get_trial(trial._trial_id).user_attrs[COSTS]
        trial.set_user_attr(COSTS, {**costs, "latency": seconds})

    @patient
    def describe_score(
        self,
        trial: Trial,
        *,
        error: float | None,
        right: str | None,
        draws: list[float | None] | None,
    ) -> None:
        """Write how sure a trial's score is, and by what it is compared (`TrialRecord`)."""
        trial.set_user_attr(ERROR, error)
        trial.set_user_attr(RIGHT, right)
        if draws is not None:
            trial.set_user_attr(DRAWS, draws)

    @patient
    def report(self, trial: Trial, *, epoch: int, score: float, error: float | None = None) -> bool:
        """Record an epoch's score; return whether the trial should stop.

        The first verdict on an epoch stays: who takes a trial over from there does not judge it
        again, by trials that came later.

        Args:
            error: the score's standard error, where this epoch is the trial's rung.
        """
        stored = self._storage.get_trial(trial._trial_id)
        verdict = stored.user_attrs.get(VERDICT, {})
        if verdict.get("epoch") == epoch:
            return bool(verdict["stop"])
        curve = curve_of(stored)
        if epoch not in curve:
            if error is not None:
                trial.set_user_attr(RUNG, {"epoch": epoch, "error": error})
            self._add_to_curve(trial, curve, epoch=epoch, score=score)
            stored = self._storage.get_trial(trial._trial_id)
        stop = bool(self.study.pruner.prune(self.study, stored))  # some of Optuna's return numpy's
        if error is not None or self._job.spec.judges_epochs:
            trial.set_user_attr(VERDICT, {"epoch": epoch, "stop": stop})
        return stop

    def _add_to_curve(
        self, trial: Trial, curve: dict[int, float], *, epoch: int, score: float
    ) -> None:
        if self._job.spec.minimize is None:
            trial.report(score, epoch)
        else:
            trial.set_user_attr(CURVE, {str(e): v for e, v in {**curve, epoch: score}.items()})

    @patient
    def reported(self, trial: Trial) -> bool:
        """Whether an epoch of a trial has been reported."""
        return bool(curve_of(self._storage.get_trial(trial._trial_id)))

    def tell(
        self,
        trial: Trial,
        ending: Ending,
        *,
        score: float | None = None,
        seconds: float = 0.0,
        files: str | None = None,
        note: str = "",
    ) -> None:
        """End a trial; its files, if it has any, must have been written before.

        Raises:
            ValueError: the trial has ended already, or a complete one has no score.
        """
        if self.ended(trial):
            raise ValueError(f"trial {trial.number} must be running to end, but has ended already")
        values = {ENDED: ending, SECONDS: round(seconds, 3), FILES: files, NOTE: note}
        self._write(trial, {k: v for k, v in values.items() if v not in (None, "")})
        complete = ending in ("complete", "copied")
        self._end(trial, _optuna_end(ending), self._values(trial, score) if complete else None)

    def _values(self, trial: Trial, score: float | None) -> list[float | None]:
        """Return what a complete trial is told to Optuna with: its score, and its cost if asked."""
        if self._job.spec.minimize is None:
            return [score]
        stored = self.patience.call(lambda: self._storage.get_trial(trial._trial_id))
        return [score, cost_of(stored, self._job.spec.minimize)]

    @patient
    def _write(self, trial: Trial, values: dict[str, Any]) -> None:
        for key, value in values.items():
            trial.set_user_attr(key, value)

    @patient
    def _end(self, trial: Trial, state: TrialState, values: list[float | None] | None) -> None:
        if not self.ended(trial):  # it has if the answer to the first call was lost
            self.study.tell(trial, values, state=state)  # type: ignore[arg-type]

    @patient
    def records(self) -> list[TrialRecord]:
        """Return all trials by number."""
        return [self._record(trial) for trial in self.study.get_trials(deepcopy=False)]

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        if trial.number in self._finished:
            return self._finished[trial.number]
        record = TrialRecord.from_frozen(trial)
        if trial.state.is_finished():
            self._finished[trial.number] = record
        return record

    def leaderboard(self) -> list[TrialRecord]:
        """Return trials that have a score, ranked."""
        return ranked(self.records())

    def equal(self, candidate: Candidate) -> TrialRecord | None:
        """Return a finished trial of a candidate that trains in the same way, if there is one."""
        for record in self.records():
            if not record.open and record.number not in self._indexed:
                self._indexed.add(record.number)
                if record.state == "complete" and record.candidate is not None:
                    self._complete.setdefault(canonical(record.candidate), record)
        return self._complete.get(canonical(candidate))


def _optuna_end(ending: Ending) -> TrialState:
    """Return how Optuna calls an end."""
    if ending in ("complete", "copied"):
        return TrialState.COMPLETE
    return TrialState.FAIL if ending == "failed" else TrialState.PRUNED
