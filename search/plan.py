"""What a job will do, decided once when it starts and then written into the job.

A time budget buys a number of training steps on this host. The plan shares them out: many
short trials on a sample of the rows, in long searches a race of finalists, then the best on
several folds, then the end of the landing (ensemble, verification, test), for which a part is
reserved from the start.
"""

import math
from typing import Annotated, Any, Literal

import pydantic

from search.metrics import MetricName
from search.row_sketch import RowSketch
from spaces.limits import Limits
from spaces.reading import Space
from spaces.values import Value

SEARCH_SHARE = 0.3  # of a budget of up to SHARED_UP_TO
SHARED_UP_TO = 600.0  # seconds of budget; from there on the search grows more slowly than it,
SEARCH_POWER = 0.6  # with this power: a finalist gains 0.3 points from twice the time
START_SECONDS = 7.0  # to start processes, load the data and prepare the job
TRIAL_OVERHEAD = 0.8  # seconds a trial besides training: sampling, first steps, files, rows
SEARCH_EPOCHS = 12  # of a trial, of few rows: about as often as a finalist sees each of its many
RUNG_SHARE = 0.25  # of a trial's epochs, after which it is judged
GOING_ON = 0.5  # of the trials are not clearly worse than the best so far, about
COOLDOWN = 0.25  # of the epochs so far: the branch by which it is
MIN_TRIALS, MAX_TRIALS = 10, 48
COST_FACTOR = 1.5  # of a sampled recipe and network against the probe's, at equal MACs
MIN_ROWS = 512
FEWEST_SHARE, MOST_TIMES = 0.5, 2.0  # of these epochs, for networks that are slower or faster
MIN_SEARCH_VALIDATION = 2000  # rows that judge a trial: a standard error of 0.8 points at 86 %
MAX_SEARCH_VALIDATION = 4000
UNLIMITED_ROWS = 3000  # rows of a trial when trials alone limit the search
RACE_FROM = 1500.0  # seconds of budget; below it a race takes too much of the finalists' time
RACE_SHARE = 0.1  # of the landing
COST_RACE_FROM = 300.0  # seconds of budget, from which networks of all costs race
COST_RACE_SHARE = 0.4  # of the landing, where a cost counts: how accurate each is must be seen
COST_RACERS = 3  # for each worker
MAX_RACERS = 8
TWO_SURVIVORS_FROM = 7200.0  # seconds of budget; below it one finalist uses the time better
FEWEST_EPOCHS, EPOCHS_POWER = 2.0, 0.4  # see `macs_for`
TRAIN_PER_FORWARD = 3.0  # a training step costs about three forward passes
FIXED_COST = 0.55  # of the probe's time per image on processors is independent of its MACs
FOLDS = range(4, 9)  # on which a finalist is trained, the first of these where no worker idles
SPLITS = 20  # into which many rows are parted: each network learns from 19 of 20
SPLIT_ROWS = 3000  # each part has, where there are not so many
JUDGING_PART_OF = 8  # about such a part of the rows judges trials, where there are finer ones
MIN_MACS_SHARE = 0.35  # of the probe's network; below it no network of the space would fit

Final = Literal["bag", "best", "refit"]


class HostSpeed(Value):
    """What one worker's probe measured: whole training steps of a network of `macs`.

    Attributes:
        fixed_share: of its time per image, which does not depend on MACs.
    """

    images_per_second: float
    macs: int
    fixed_share: Annotated[float, pydantic.Field(ge=0.0, lt=1.0)] = FIXED_COST

    def shared_by(self, workers: int) -> "HostSpeed":
        """Return the speed of each of so many workers whose steps take turns on one device."""
        return self.model_copy(update={"images_per_second": self.images_per_second / workers})

    def seconds_per_image(self, macs: float) -> float:
        """Estimate a training step's time per image for a network of other cost."""
        share = self.fixed_share + (1.0 - self.fixed_share) * macs / self.macs
        return share / self.images_per_second

    def equal_time_epochs(self, epochs: int, *, of: int, macs: int) -> int:
        """Return how many epochs take about as long as so many of a network of `of` MACs."""
        times = self.seconds_per_image(of) / self.seconds_per_image(macs)
        return max(1, round(min(max(times, FEWEST_SHARE), MOST_TIMES) * epochs))

    def macs_within(self, seconds_per_image: float) -> int:
        """Return the MACs of the largest network that trains at this pace."""
        times = seconds_per_image * self.images_per_second
        share = (times - self.fixed_share) / (1.0 - self.fixed_share)
        return round(self.macs * max(share, MIN_MACS_SHARE))


class Plan(Value):
    """Every decision that workers share, so that a noisy probe cannot make two of them differ.

    Attributes:
        device: where and how to compute, as `workers.device.DevicePlan` in JSON.
        speed, threads: what the limits were calibrated with: the probe's result, for one worker.
        workers: that share the work, as far as its times depend on it.
        race_share: of the landing, in which the finalists race.
        metric: by which everything is chosen.
        notes: what was decided because of the data, for people.
        search_rows, validation_rows: sampled from fold 0 for each trial.
        search_epochs: of a trial that is not discarded, if it costs as much as the prior.
        prior_macs: of the first trial; None where trials have equal epochs whatever they cost, as
            their finalists will.
        search_seconds: of the job's clock at which no further trial starts; None: no limit.
        space: what was asked for, less the sizes that are far beyond the limits.
        first_trials: parameters of the trials that every search begins with: the prior's.
        settled: parameters that all others take over from the first ones.
        warm_trials: parameters, of an earlier search, that are tried after the first trials.
        most_trials: after which an exhaustive search has tried every setting.
        finalists, survivors: how many trials race on the judging fold, and how many of them are
            then trained on the others; equal without a race.
        folds: on how many, from the first after the judging fold.
        final: what is made of these; for "refit" the survivors are trained on all rows, too.
        finalist_epochs: of a finalist on a fold, without a time budget.
        finalist_images: that a network of trials has seen which an earlier job has trained; so
            many, then, in place of these epochs.
        data_fingerprint, folds_hash: what every worker must find before it starts.
        test_rows: by which it is found who has opened the test set.
    """

    device: dict[str, Any]
    speed: HostSpeed
    threads: int
    workers: int
    search_rows: int
    validation_rows: int
    search_epochs: int
    prior_macs: int | None
    search_seconds: float | None
    space: Space
    limits: Limits
    finalists: int
    survivors: int
    folds: int
    final: Final
    finalist_epochs: int
    classes: int
    image_shape: tuple[int, int, int]
    data_fingerprint: str
    folds_hash: str
    first_trials: tuple[dict[str, Any], ...] = ()
    settled: tuple[str, ...] = ()
    warm_trials: tuple[dict[str, Any], ...] = ()
    most_trials: int | None = None
    finalist_images: dict[int, int] = pydantic.Field(default_factory=dict)
    race_share: float = RACE_SHARE
    metric: MetricName = "accuracy"
    test_rows: RowSketch = RowSketch("")
    notes: tuple[str, ...] = ()

    @property
    def on_gpu(self) -> bool:
        """Whether the work is done on a GPU."""
        return bool(self.device["device"] != "cpu")

    @property
    def refit(self) -> bool:
        """Whether the survivors are trained on all rows, too."""
        return self.final == "refit"

    @property
    def deciding_trials(self) -> tuple[dict[str, Any], ...]:
        """Parameters of the first trials that decide something for the others.

        That is the prior alone where others try mirroring, too, and none where nothing is settled.
        """
        if "augmentation" in self.settled:
            return self.first_trials
        return self.first_trials[:1] if self.settled else ()

    @property
    def races(self) -> bool:
        """Whether finalists race for being trained on the other folds."""
        return self.finalists > self.survivors

    def trial_epochs(self, macs: int) -> int:
        """Return how many epochs a trial of a network of so many MACs trains.

        Finalists have equal times, so a slow network must show what it learns from fewer images.
        """
        if self.prior_macs is None:
            return self.search_epochs
        return self.speed.equal_time_epochs(self.search_epochs, of=self.prior_macs, macs=macs)

    @property
    def most_epochs(self) -> int:
        """How many epochs a trial trains at most, whatever its network costs."""
        if self.prior_macs is None:
            return self.search_epochs
        return math.ceil(MOST_TIMES * self.search_epochs)

    def heat_share(self, *, finalists: int) -> float:
        """Return for which share of the landing each of so many finalists trains in the race."""
        return self.race_share / math.ceil(finalists / self.workers)

    def times_race(self, *, finalists: int) -> float:
        """Return how many times longer one of them trains on a fold than in the race before."""
        rounds = math.ceil(self.survivors * (self.folds + self.refit) / self.workers)
        return (1.0 - self.race_share) / rounds / self.heat_share(finalists=finalists)


class Shape(Value):
    """The sizes on which a plan depends.

    Attributes:
        rows: of the data that are not test rows.
        splits: into how many parts they are split.
        folds: of these that a finalist is trained on.
        survivors: finalists that are.
        refit: they are trained on all rows as well.
    """

    rows: int
    splits: int
    folds: int
    workers: int
    survivors: int = 1
    refit: bool = False

    @property
    def rounds(self) -> int:
        """Trainings of finalists that one worker does after the other."""
        return math.ceil(self.survivors * (self.folds + self.refit) / self.workers)

    @property
    def fold_rows(self) -> int:
        """Training rows within one fold."""
        return self.rows - self.rows // self.splits


def search_seconds(budget: float | None) -> float | None:
    """Return the job's second at which the search ends, its start included."""
    if budget is None:
        return None
    usable = budget - START_SECONDS
    slower: float = min(1.0, (SHARED_UP_TO / usable) ** (1.0 - SEARCH_POWER))
    return START_SECONDS + SEARCH_SHARE * slower * usable


def rows_for_trials(
    budget: float | None,
    *,
    epochs: int,
    rung: int,
    keep: int,
    macs: int,
    shape: Shape,
    speed: HostSpeed,
) -> int:
    """Return how many rows each trial may train on so that enough trials fit into the search.

    Args:
        epochs: of a trial that is not discarded.
        rung: the epoch after which it may be; 0: none is.
        keep: how many of the best so far outlive early discard in any case; of n trials in random
            order about keep * (1 + ln(n / keep)) do.
        macs: of the largest network that is allowed.
    """
    if budget is None:
        return min(UNLIMITED_ROWS, shape.fold_rows)
    end = search_seconds(budget)
    assert end is not None
    worker_seconds = max(1.0, shape.workers * (end - START_SECONDS))
    trials = min(max(3.0 * math.sqrt(worker_seconds), MIN_TRIALS), MAX_TRIALS)
    best = keep * (1.0 + math.log(max(trials / keep, 1.0)))
    completed = min(trials, max(best, GOING_ON * trials))
    passes = float(trials * epochs)
    if rung:
        passes = trials * rung * (1.0 + COOLDOWN) + completed * (epochs - rung)
    training = max(worker_seconds - trials * TRIAL_OVERHEAD, 0.3 * worker_seconds)
    rows = training / (passes * COST_FACTOR * speed.seconds_per_image(macs))
    return int(min(max(rows, MIN_ROWS), shape.fold_rows))


def survivors_for(budget: float | None) -> int:
    """Return how many trials are worth training for the ensemble."""
    return 2 if budget is None else 1 + (budget >= TWO_SURVIVORS_FROM)


def finalists_for(budget: float | None, *, workers: int, costs: bool = False) -> int:
    """Return how many trials race for that, so that all workers are busy; without a race, all.

    Args:
        costs: networks are to be cheap as well, so some of every cost race.
    """
    if costs:
        races = budget is not None and budget >= COST_RACE_FROM
        return min(COST_RACERS * workers, MAX_RACERS) if races else 1
    survivors = survivors_for(budget)
    if budget is None or budget < RACE_FROM:
        return survivors
    full_rounds = math.ceil((survivors + 1) / workers) * workers
    return min(full_rounds, max(survivors + 1, MAX_RACERS))


def folds_for(*, survivors: int, workers: int, refit: bool) -> int:
    """Return on how many folds finalists are trained, so that few workers idle.

    A refit on all rows is one more training.

    Two workers train five folds in three rounds, the last one with one of them idle; in the
    same time they train six, or four in two longer rounds. Fewer and longer trainings are better
    (docs/recipe.md).
    """

    def idle(folds: int) -> float:
        trainings = survivors * (folds + refit)
        return math.ceil(trainings / workers) * workers / trainings

    return min(FOLDS, key=idle)


def splits_for(*, rows: int, folds: int) -> int:
    """Return into how many parts the rows are split: at least the judging fold and the others."""
    return max(folds + 1, min(SPLITS, rows // SPLIT_ROWS))


def judging_parts_for(*, splits: int, folds: int) -> int:
    """Return how many of these parts the judging fold has: of those that no other fold needs."""
    return max(1, min(round(splits / JUDGING_PART_OF), splits - folds))


def macs_for(budget: float | None, *, shape: Shape, speed: HostSpeed) -> int | None:
    """Return the MACs of the largest network that the finalists' part of the budget affords.

    More time is best spent on larger networks and on more epochs together: where the probe's
    network could train p epochs on each fold, the largest one still trains 2 p**0.4. (Measured
    on Fashion-MNIST: in 140 seconds 5 million MACs and 10 epochs were best, in 500 seconds 17
    million and 15; those are the prior's, half as large as the largest network.)
    """
    if budget is None:
        return None
    end = search_seconds(budget)
    assert end is not None
    seconds = 0.8 * (budget - end) / shape.rounds
    epochs = FEWEST_EPOCHS * (seconds * speed.images_per_second / shape.fold_rows) ** EPOCHS_POWER
    return speed.macs_within(seconds / (shape.fold_rows * epochs))
