"""The life of one trial, from its parameters to one of its ends."""

import time
from collections.abc import Sequence
from dataclasses import replace

from optuna.trial import Trial

from search.attributes import MEMORY, MEMORY_MET
from search.draws import Draws
from search.marks import Marks
from search.score_errors import binomial_error, standard_error
from search.store import Lease
from search.store.trials import Ending
from spaces.complexity import measure_complexity
from spaces.limits import Complexity
from spaces.recipe import Candidate
from workers.checkpoints import load_checkpoint, save_checkpoint
from workers.epoch_report import EpochReport
from workers.files import PREDICTIONS, write_array
from workers.gentler import gentler, is_gentler
from workers.latency import measure_latency
from workers.memory import batch_pieces
from workers.out_of_memory import is_out_of_memory
from workers.retention import tidy
from workers.search_time import search_end
from workers.training import Diverged, Training
from workers.trial_notes import note_trial
from workers.workbench import Workbench

LOOK_SECONDS = 1.0  # between two looks whether any trial has a score, once the time is over


class TrialStopped(Exception):
    """The trial should end early, for the reason given."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending: Ending = ending


def run_trial(bench: Workbench, trial: Trial, lease: Lease) -> Ending:
    """Bring a trial to an end, from wherever its last holder left it, and write a note on it.

    Raises:
        Stopped: the work must stop here; the trial stays open for whoever claims it next.
    """
    ending, curve = _run(bench, trial, lease)
    note_trial(bench, trial, lease, curve)
    return ending


def _run(bench: Workbench, trial: Trial, lease: Lease) -> tuple[Ending, Sequence[EpochReport]]:
    candidate, complexity = _sampled(bench, trial)
    limits = bench.plan.limits
    excess = limits.excess(complexity)
    if _within(excess):
        excess[MEMORY] = batch_pieces(candidate, bench.plan, rows=bench.plan.search_rows)[1]
    if bench.job.spec.measures_latency and _within(excess):
        complexity = replace(complexity, latency=_latency(bench, trial, candidate))
        excess |= limits.excess(complexity)
    bench.trials.describe(trial, candidate, complexity)
    _constrain(bench, trial, excess)
    if not _within(excess):
        bench.trials.tell(trial, "infeasible", note=_excess_note(bench, complexity))
        return "infeasible", ()
    equal = bench.trials.equal(candidate)
    if equal is not None:
        note = f"an equal candidate was trained as trial {equal.number}"
        bench.trials.copy(equal, trial)
        bench.trials.tell(trial, "copied", score=equal.score, files=equal.files, note=note)
        return "copied", ()
    run = _TrialRun(bench, trial, lease)
    return run.run(candidate), run.curve


def _sampled(bench: Workbench, trial: Trial) -> tuple[Candidate, Complexity]:
    """Return the trial's candidate and its cost; what a former holder has sampled is kept."""
    data, plan = bench.data, bench.plan
    side = min(data.image_shape[:2])
    candidate = bench.store.patience.call(
        lambda: plan.space.suggest(trial, side=side, epochs=plan.search_epochs)
    )
    complexity = measure_complexity(
        candidate.architecture, image_shape=data.image_shape, classes=data.classes
    )
    epochs = plan.trial_epochs(complexity.macs)
    recipe = candidate.recipe.model_copy(update={"epochs": epochs})
    return candidate.model_copy(update={"recipe": recipe}), complexity


def _within(excess: dict[str, float]) -> bool:
    return all(value <= 0.0 for value in excess.values())


def _latency(bench: Workbench, trial: Trial, candidate: Candidate) -> float:
    """Return the seconds to predict a batch; what a former holder has measured is kept."""
    known = bench.trials.latency(trial)
    if known is not None:
        return known
    measured = measure_latency(
        candidate.architecture,
        image_shape=bench.data.image_shape,
        classes=bench.data.classes,
        batch=bench.plan.limits.latency_batch,
        plan=bench.exact,
    )
    return float(f"{measured:.3g}")


def _constrain(bench: Workbench, trial: Trial, excess: dict[str, float]) -> None:
    def constrain() -> None:
        for name, value in excess.items():
            if name not in trial.constraints:  # a former holder of the trial may have been faster
                trial.set_constraint(name, value)

    bench.store.patience.call(constrain)


def _excess_note(bench: Workbench, complexity: Complexity) -> str:
    limits, excess = bench.plan.limits, bench.plan.limits.excess(complexity)
    units = {
        "parameters": "parameters",
        "macs": "MACs",
        "activations": "bytes of activations",
        "latency": f"seconds for a batch of {limits.latency_batch}",
    }
    over = [
        f"{getattr(complexity, name):,} {units[name]}, limit {getattr(limits, name):,}"
        for name, value in excess.items()
        if value > 0.0
    ]
    return ", ".join(over) or f"a step's memory, limit {limits.memory:,} bytes"


class _TrialRun:
    """The training of one trial under one lease."""

    def __init__(self, bench: Workbench, trial: Trial, lease: Lease) -> None:
        self._bench, self._trial, self._lease = bench, trial, lease
        self._all_fences = bench.files.trial(trial.number)
        self._folder = self._all_fences / str(lease.fence)
        self._begin = self._looked = time.monotonic()
        self._end_of_search = search_end(bench)
        self._candidate: Candidate | None = None
        self.curve: Sequence[EpochReport] = ()

    def run(self, candidate: Candidate) -> Ending:
        """Train to an end; a first divergence is answered by one gentler attempt."""
        note = ""
        try:
            try:
                self._train(candidate)
            except Diverged as divergence:
                if self._candidate != candidate or self._reported():
                    raise
                note = f"{divergence}; trained again with clipping and a lower rate"
            if note:  # outside the except block: the failure's frames hold the first training
                tidy(self._all_fences, until=self._lease.fence)
                second = gentler(candidate)
                self._bench.trials.describe(self._trial, second)
                self._train(second)
        except TrialStopped as stop:
            return self._end(stop.ending, note)
        except Diverged as divergence:
            return self._end("diverged", f"{note or divergence}")
        except (MemoryError, RuntimeError) as failure:
            if not is_out_of_memory(failure):
                raise
            _constrain(self._bench, self._trial, {MEMORY_MET: 1.0})
            return self._end("out of memory", str(failure).splitlines()[0])
        return "complete"

    def _train(self, candidate: Candidate) -> None:
        bench = self._bench
        resumed = load_checkpoint(self._all_fences)
        if resumed is not None and resumed[0] != candidate:  # it diverged under a former holder
            candidate = resumed[0]
            bench.trials.describe(self._trial, candidate)
        self._candidate = candidate
        seed = bench.seed("trial", self._trial.number)
        pieces, _ = batch_pieces(candidate, bench.plan, rows=bench.plan.search_rows)
        training = Training(
            candidate,
            bench.search_rows,
            plan=bench.device,
            metric=bench.metric,
            seed=seed,
            rung=bench.job.spec.rung_of(candidate.recipe.epochs),
            validate_every=bench.job.spec.validation_interval,
            clock=bench.heartbeat.clock,
            pieces=pieces,
        )
        if resumed is not None:
            training.restore(resumed[1])
            self._report(training, training.curve[-1])  # in case its holder died before it did
        bench.heartbeat.expect_steps()  # a former holder's epochs may have taken far less
        training.run(on_epoch=self._on_epoch, interrupt=self._interrupt)
        self._complete(training)

    def _on_epoch(self, training: Training, report: EpochReport) -> None:
        """Checkpoint first, then report, then let the pruner decide."""
        self.curve = training.curve
        self._save(training, epoch=report.epoch)
        self._bench.heartbeat.progressed(next_in=training.next_epoch_seconds)
        self._report(training, report)

    def _save(self, training: Training, *, epoch: int) -> None:
        candidate, state = self._candidate, training.state()
        assert candidate is not None
        self._bench.write(
            lambda: save_checkpoint(self._folder, state, candidate=candidate, epoch=epoch)
        )

    def _report(self, training: Training, report: EpochReport) -> None:
        if report.validation_score is None:
            return
        stop = self._bench.trials.report(
            self._trial,
            epoch=report.epoch,
            score=report.validation_score,
            error=self._error(training, report) if report.epoch == training.rung else None,
        )
        if stop and not training.finished:  # what is trained to its end is complete
            raise TrialStopped("pruned")

    def _error(self, training: Training, report: EpochReport) -> float:
        """Return the standard error of the last validation's score.

        Of one that a former holder has made but not reported there is the score alone: its error
        is that of an accuracy, or about that of what the network says now.
        """
        probabilities = training.validation_probabilities
        rows = training.rows
        alone = rows.validation_groups is None
        if probabilities is None and alone and training.metric.name == "accuracy":
            share = report.validation_score or 0.0
            return binomial_error(share, rows=len(rows.validation_labels))
        if probabilities is None:
            probabilities = training.predict(rows.validation_images, training.plan)
        return standard_error(
            training.metric,
            rows.validation_labels,
            probabilities,
            seed=self._bench.seed("error", self._trial.number),
            groups=rows.validation_groups,
        )

    def _interrupt(self) -> None:
        self._bench.heartbeat.check()
        left = self._bench.heartbeat.seconds_until(self._end_of_search)
        if left > 0.0 or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        if self._bench.trials.leaderboard():
            raise TrialStopped("out of time")

    def _complete(self, training: Training) -> None:
        """Write predictions beside the last checkpoint, then tell: never the other way."""
        probabilities = training.validation_probabilities
        if probabilities is None:  # restored after its last epoch
            self._save(training, epoch=training.curve[-1].epoch)
            probabilities = training.predict(training.rows.validation_images, training.plan)
        self._bench.write(lambda: write_array(self._folder / PREDICTIONS, probabilities))
        last = training.curve[-1]
        assert last.validation_score is not None and last.validation_seconds is not None
        training.validation_probabilities = probabilities
        labels, groups = training.rows.validation_labels, training.rows.validation_groups
        right = draws = None
        if training.metric.task == "classification":
            right = Marks(probabilities.argmax(1) == labels, groups).text
        if training.metric.name != "accuracy":
            seed = self._bench.seed("draws of a trial")  # with which all draw the same rows
            found = Draws.of(training.metric, labels, probabilities, seed=seed, groups=groups)
            draws = found.written
        self._bench.trials.describe_score(
            self._trial, error=self._error(training, last), right=right, draws=draws
        )
        self._bench.trials.describe_pace(
            self._trial,
            train=training.pace,
            predict=last.validation_seconds / len(probabilities),
        )
        self._bench.trials.tell(
            self._trial,
            "complete",
            score=last.validation_score,
            seconds=time.monotonic() - self._begin,
            files=self._bench.files.relative(self._folder),
            note="" if self._candidate is None else _attempt_note(self._candidate),
        )
        tidy(self._all_fences, keep=self._folder, until=self._lease.fence, checkpoints=1)

    def _end(self, ending: Ending, note: str) -> Ending:
        self._bench.trials.tell(
            self._trial, ending, seconds=time.monotonic() - self._begin, note=note
        )
        tidy(self._all_fences, until=self._lease.fence)
        return ending

    def _reported(self) -> bool:
        return self._bench.trials.reported(self._trial)


def _attempt_note(candidate: Candidate) -> str:
    if not is_gentler(candidate):
        return ""
    return "diverged once; trained again with clipping and a lower rate"
