"""A job's Optuna study: ask for trials, report epochs, tell ends, read the leaderboard."""

from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from search.job import Job
from search.pruning import make_pruner
from search.sampling import make_sampler
from search.store.patience import Patience, patient
from spaces.canonical import canonical
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
CANDIDATE = "athanor:candidate"
COSTS = "athanor:costs"
ENDED = "athanor:ended"
FILES = "athanor:files"
NOTE = "athanor:note"
PACE = "athanor:pace"
SECONDS = "athanor:seconds"
VERDICT = "athanor:verdict"  # on which epoch the trial was judged last, and whether to stop


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial as people see it.

    Attributes:
        score: the validation accuracy at the trial's end, or the best before, as a share.
        curve: validation accuracy by epoch, from 1.
        train_pace, predict_pace: measured seconds for one image.
    """

    number: int
    state: str
    score: float | None
    curve: dict[int, float]
    candidate: Candidate | None
    parameters: int | None
    macs: int | None
    seconds: float
    train_pace: float | None
    predict_pace: float | None
    note: str
    files: str | None

    @classmethod
    def from_frozen(cls, trial: FrozenTrial) -> "TrialRecord":
        """Read what Athanor wrote into a trial's attributes."""
        attributes = trial.user_attrs
        candidate = attributes.get(CANDIDATE)
        costs = attributes.get(COSTS, {})
        # a trial is cooled down at its rung: an epoch at a high rate after it may score less
        best = max(trial.intermediate_values.values(), default=None)
        open_states = {TrialState.RUNNING: "running", TrialState.WAITING: "waiting"}
        return cls(
            number=trial.number,
            # a worker that died while it told the end has left its words but not ended the trial
            state=open_states.get(trial.state) or attributes.get(ENDED, "failed"),
            score=trial.value if trial.state == TrialState.COMPLETE else best,
            curve=dict(sorted(trial.intermediate_values.items())),
            candidate=None if candidate is None else Candidate.from_json(candidate),
            parameters=costs.get("parameters"),
            macs=costs.get("macs"),
            seconds=float(attributes.get(SECONDS, 0.0)),
            train_pace=attributes.get(PACE, {}).get("train"),
            predict_pace=attributes.get(PACE, {}).get("predict"),
            note=attributes.get(NOTE, ""),
            files=attributes.get(FILES),
        )

    @property
    def open(self) -> bool:
        """Whether the trial has not ended."""
        return self.state in ("running", "waiting")

    @property
    def finished(self) -> bool:
        """Whether the trial trained to its end, so that it can be a finalist."""
        return self.state in ("complete", "copied")


class Trials:
    """The trials of one job; the only reader and writer of study and trial attributes."""

    def __init__(self, storage: BaseStorage, job: Job, *, patience: Patience) -> None:
        self._job, self._storage, self.patience = job, storage, patience
        self._finished: dict[int, TrialRecord] = {}  # they change no more: read once
        self._indexed: set[int] = set()  # of these, the ones that have been looked at for
        self._complete: dict[Candidate, TrialRecord] = {}  # by what they train
        self.study = self._open()

    @patient
    def _open(self) -> optuna.Study:
        spec = self._job.spec
        pruner = make_pruner(spec.pruning, epochs=spec.epochs, rung=spec.rung, keep=spec.keep)
        return optuna.create_study(
            study_name=self._job.id,
            storage=self._storage,
            sampler=make_sampler(spec.strategy, seed=spec.seed),
            pruner=pruner,
            direction="maximize",
            load_if_exists=True,
        )

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
            costs = {"parameters": complexity.parameters, "macs": complexity.macs}
            trial.set_user_attr(COSTS, costs)

    @patient
    def describe_pace(self, trial: Trial, *, train: float, predict: float) -> None:
        """Write how long training on and predicting one image took, in seconds."""
        trial.set_user_attr(PACE, {"train": train, "predict": predict})

    @patient
    def report(self, trial: Trial, *, epoch: int, score: float) -> bool:
        """Record an epoch's validation accuracy; return whether the trial should stop.

        The first verdict on an epoch stays: who takes a trial over from there does not judge it
        again, by trials that came later.
        """
        stored = self._storage.get_trial(trial._trial_id)
        verdict = stored.user_attrs.get(VERDICT, {})
        if verdict.get("epoch") == epoch:
            return bool(verdict["stop"])
        if epoch in stored.intermediate_values:
            trial = Trial(self.study, trial._trial_id)  # with all that is stored
        else:
            trial.report(score, epoch)
        stop = bool(trial.should_prune())  # some of Optuna's pruners return numpy's
        if self._job.spec.judges(epoch):
            trial.set_user_attr(VERDICT, {"epoch": epoch, "stop": stop})
        return stop

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
        self._end(trial, *_optuna_end(ending, score))

    @patient
    def _write(self, trial: Trial, values: dict[str, Any]) -> None:
        for key, value in values.items():
            trial.set_user_attr(key, value)

    @patient
    def _end(self, trial: Trial, state: TrialState, score: float | None) -> None:
        if not self.ended(trial):  # it has if the answer to the first call was lost
            self.study.tell(trial, score, state=state)

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


def ranked(records: list[TrialRecord]) -> list[TrialRecord]:
    """Return trials that have a score, the best first; finished ones before stopped ones.

    Equal scores go to the earlier trial, as in Optuna's own `best_trial`.
    """
    return sorted((record for record in records if record.score is not None), key=_rank)


def _optuna_end(ending: Ending, score: float | None) -> tuple[TrialState, float | None]:
    """Return how Optuna calls an end, and the value that it is told."""
    if ending in ("complete", "copied"):
        return TrialState.COMPLETE, score
    return (TrialState.FAIL if ending == "failed" else TrialState.PRUNED), None


def _rank(record: TrialRecord) -> tuple[bool, float, int]:
    assert record.score is not None
    return (not record.finished, -record.score, record.number)
