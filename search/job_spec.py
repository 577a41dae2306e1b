"""What is asked of a search: the keys of a job file, validated once."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic
import yaml

from search.attributes import Cost
from search.baselines import LEAST_BUDGET
from search.durations import Duration
from search.how_to_train import HOW_TO_TRAIN, unstated
from search.machine import has_gpu, usable_cores, usual_workers
from search.metrics import MetricName
from search.plan import (
    COOLDOWN,
    RUNG_SHARE,
    SEARCH_EPOCHS,
    Final,
    finalists_for,
    folds_for,
    splits_for,
    survivors_for,
)
from search.pruning import PRUNINGS_WITH_A_COST, Pruning
from search.sampling import STRATEGIES_WITH_A_COST, Strategy
from search.sources import NAMED_SOURCES, ImageOptions, absolute, expanded, image_options, title
from search.warm_start import StatedWarmStart
from spaces.cnn import CnnSpace
from spaces.errors import JobError
from spaces.pretrained import SUFFIX as WEIGHTS
from spaces.reading import SUFFIXES, Space
from spaces.values import validated

DEFAULT_BUDGET = 600.0  # seconds, when neither a budget nor a number of trials is given
MIN_BUDGET = 20.0  # seconds: below this the processes' start alone takes the budget
MAX_FOLDS = 50
MAX_REPEATS = 20
MAX_FINALISTS = 100


Count = Annotated[int, pydantic.Field(ge=1)]


class JobSpec(ImageOptions):
    """One search job as a person states it; besides, how its image files are read.

    Attributes:
        data: a data set's name, or the path of a file or folder (docs/data.md).
        name: what the job's id begins with; None: a name that its data give.
        strict_data: refuse data with broken or doubtful images (docs/data.md) instead of telling.
        budget: wall-clock seconds for everything, training of the finalists included.
        device_budget: seconds of all devices that work here, processor cores or GPUs; what that is
            in wall-clock seconds, by the workers and cores of this machine, becomes the budget.
        trials: how many to run; without a budget, this or `max_epochs` is the only limit.
        max_epochs: of all trials together.
        space: what may be built and how it may be trained.
        metric: by which trials, finalists and ensembles are chosen; more of it is better. None: the
            accuracy, or where classes are unbalanced that of all classes alike.
        strategy: how the next trial is chosen (docs/search.md); "auto" changes the best so far as a
            model of all trials advises.
        seed: with equal seeds and one worker, a search limited by trials repeats exactly, unless
            latencies are measured.
        workers: processes that will share the work, on all machines together; None: as many as the
            pool has whose worker prepares the job: one a core, eight at most, or two with a GPU.
        folds: on how many a finalist is trained: the networks that it gives to the ensemble. One
            more judges the trials, and with many rows there are up to twenty parts, so that each
            network learns from 95 %. None: four to eight, so that no worker idles.
        repeats: how often the rows are parted anew into so many folds: each finalist then gives
            `folds` times `repeats` networks, and a row may be judged more than once.
        final: what is made of the folds' networks: "bag" averages all, "best" keeps the most
            accurate one, "refit" trains each finalist once more, on all rows; the folds' networks
            say how accurate that is. None: "refit" where rows have times, else "bag".
        finalists: how many of the best trials are trained on them; None: by budget, and in long
            searches by a race on the fold that judged the trials.
        search_rows: training images of a trial; None: so many that enough trials fit into the
            budget.
        search_epochs: of a trial; None: 12.
        pruning: which trials stop early: "discard" ends those that are clearly worse than the best
            so far and not among the `keep` best, after some epochs; successive "halving",
            "hyperband", "median" and "patience" judge each epoch.
        discard_after: epochs after which trials that are clearly worse than the best so far end, or
            the same share of those of networks that have more or fewer in the same time; 0 turns it
            off. None: a quarter of a trial's epochs.
        validate_every: epochs from one validation of a trial to the next, besides those that decide
            whether it goes on and what it is worth; None: those alone.
        keep: how many of the best so far go on in any case.
        search_recipe: whether trials also try other optimizers, rates, schedules, augmentations and
            batches than the prior's. None: all of them where trials alone limit the search, else
            those whose choices the space states otherwise than by default.
        warm_start: an earlier job, or parameters, to try after the first trials.
        minimize: a cost that is to be small, besides a score that is to be high: "parameters",
            "macs" or "latency". From five minutes on trials of every cost race, and the cheapest
            one within `tolerance` is trained for the ensemble.
        tolerance: standard errors of its score by which a cheaper trial may lie below the best.
        reopen_test: open the test set even if another job of this store has done so; every look at
            it that decides something makes its next score less true.
        keep_test_closed: leave it closed, for a first look: once a job has opened it, later ones
            on such rows leave it closed unless with `reopen_test`.
        baselines: whether simple models are measured, too, for comparison; None: unless the budget
            is below a minute.
        lands: an earlier job of the same store whose trials are landed once more, without a search;
            what their folds have given is kept.
        distills: with `lands`, the trial that is trained on all rows to predict what the earlier
            job's ensemble does.
        ensemble_parameters: that all networks of the model may have together. Trials keep to it,
            too; where no network of a search is within it in the end, the cheapest one is kept,
            which is said.
        ensemble_latency: seconds that they may take together for `latency_batch` images; likewise.
        max_macs: multiplications and additions that a network may need for an image; None: so many
            that its finalists can be trained within the budget.
        max_parameters: that a network may have.
        max_activations: bytes that the prediction of an image keeps at once, in float32.
        max_latency: seconds that a prediction of `latency_batch` images may take on a worker.
        latency_batch: images that a latency is measured with.
        max_memory: bytes that a worker's training steps may take; None: a share of what is free.
        priority: jobs with a higher one come first.
    """

    data: Annotated[str, pydantic.Field(min_length=1)]
    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,40}$")] | None = None
    strict_data: bool = False
    budget: Duration = None
    device_budget: Duration = None
    trials: Annotated[int, pydantic.Field(ge=1, le=1_000_000)] | None = None
    max_epochs: Count | None = None
    space: Space = CnnSpace()
    metric: MetricName | None = None
    strategy: Strategy = "auto"
    seed: Annotated[int, pydantic.Field(ge=0, lt=2**31)] = 0
    workers: Annotated[int, pydantic.Field(ge=1, le=256)] | None = None
    folds: Annotated[int, pydantic.Field(ge=1, le=MAX_FOLDS)] | None = None
    repeats: Annotated[int, pydantic.Field(ge=1, le=MAX_REPEATS)] = 1
    final: Final | None = None
    finalists: Annotated[int, pydantic.Field(ge=1, le=MAX_FINALISTS)] | None = None
    search_rows: Count | None = None
    search_epochs: Count | None = None
    pruning: Pruning = "discard"
    discard_after: Annotated[int, pydantic.Field(ge=0)] | None = None
    validate_every: Count | None = None
    keep: Count = 3
    search_recipe: bool | None = None
    warm_start: StatedWarmStart | None = None
    reopen_test: bool = False
    keep_test_closed: bool = False
    baselines: bool | None = None
    lands: str | None = None
    distills: Annotated[int, pydantic.Field(ge=0)] | None = None
    ensemble_parameters: Count | None = None
    ensemble_latency: Annotated[float, pydantic.Field(gt=0.0, allow_inf_nan=False)] | None = None
    max_macs: Count | None = None
    max_parameters: Count | None = None
    minimize: Cost | None = None
    tolerance: Annotated[float, pydantic.Field(ge=0.0, allow_inf_nan=False)] = 1.0
    max_activations: Count | None = None
    max_latency: Annotated[float, pydantic.Field(gt=0.0, allow_inf_nan=False)] | None = None
    latency_batch: Annotated[int, pydantic.Field(ge=1, le=4096)] = 1
    max_memory: Count | None = None
    priority: int = 0

    @pydantic.model_validator(mode="before")
    @classmethod
    def _default_budget(cls, data: Any) -> Any:
        limits = ("budget", "device_budget", "trials", "max_epochs", "lands")
        if isinstance(data, dict) and all(data.get(limit) is None for limit in limits):
            return {**data, "budget": DEFAULT_BUDGET}
        return data

    @pydantic.field_validator("device_budget")
    @classmethod
    def _check_device_budget(cls, budget: float | None) -> float | None:
        if budget is not None and not (math.isfinite(budget) and budget > 0.0):
            raise ValueError(f"a device budget must be some seconds, but got {budget:g}")
        return budget

    @pydantic.field_validator("budget")
    @classmethod
    def _check_budget(cls, budget: float | None) -> float | None:
        if budget is not None and not (math.isfinite(budget) and budget >= MIN_BUDGET):
            raise ValueError(
                f"a budget must be at least {MIN_BUDGET:g} seconds, but got {budget:g}"
            )
        return budget

    @property
    def counts_trials(self) -> bool:
        """Whether trials or their epochs are to be used up, whatever they show."""
        return self.trials is not None or self.max_epochs is not None

    @property
    def title(self) -> str:
        """The job's name, by default that of its data."""
        words = re.sub(r"[^A-Za-z0-9._-]+", "-", title(self.data)).lstrip("._-")
        return self.name or words[:40] or "job"

    @property
    def image_options(self) -> ImageOptions:
        """How image files are read."""
        return image_options(dict(self))

    @property
    def worker_count(self) -> int:
        """How many worker processes share this machine: one a core, or two with a GPU."""
        return self.workers or usual_workers()

    def shared_by(self, workers: int | None) -> Self:
        """Return the job as it is planned by one of so many workers, unless it states a number."""
        if workers is None or self.workers is not None:
            return self
        return self.model_copy(update={"workers": workers})

    @property
    def device_count(self) -> int:
        """How many devices work on the job here: processor cores, or one GPU."""
        if has_gpu():
            return 1
        cores, workers = usable_cores(), self.worker_count
        return min(cores, workers * max(1, cores // workers))

    def _within_device_budget(self) -> "JobSpec":
        """Return the job with what its device budget is in wall-clock seconds on this machine."""
        if self.device_budget is None:
            return self
        seconds = self.device_budget / self.device_count
        if seconds < MIN_BUDGET:
            raise JobError(
                f"a budget must be at least {MIN_BUDGET:g} seconds, but {self.device_budget:g} of "
                f"{self.device_count} devices are {seconds:g}"
            )
        return self.model_copy(update={"budget": min(seconds, self.budget or math.inf)})

    @property
    def epochs(self) -> int:
        """How many epochs a trial trains unless it is discarded."""
        return self.search_epochs or SEARCH_EPOCHS

    @property
    def rung(self) -> int:
        """After how many epochs only the best trials go on; 0: all do, or another rule holds.

        Of a trial of `epochs`; `rung_of` says it for others.
        """
        if self.pruning != "discard":
            return 0
        if self.discard_after is not None:
            return self.discard_after
        return max(1, round(RUNG_SHARE * self.epochs))

    def rung_of(self, epochs: int) -> int:
        """Return the rung of a trial of so many epochs, after the same share of them."""
        return max(1, round(self.rung * epochs / self.epochs)) if self.rung else 0

    @property
    def settled(self) -> tuple[str, ...]:
        """Parameters that trials do not try, but take over from the first ones."""
        if self.search_recipe is not None:
            return () if self.search_recipe else tuple(HOW_TO_TRAIN)
        return () if self.budget is None else unstated(self.space.recipe)

    @property
    def judges_epochs(self) -> bool:
        """Whether any epoch of a trial may be its last one."""
        return self.pruning not in ("discard", "none")

    @property
    def validation_interval(self) -> int | None:
        """Epochs from one validation of a trial to the next; None: only those that decide."""
        return self.validate_every or (1 if self.judges_epochs else None)

    @pydantic.model_validator(mode="after")
    def _check_epochs(self) -> Self:
        needed = self.epochs + math.ceil(COOLDOWN * self.rung)
        if self.max_epochs is not None and self.max_epochs < needed:
            raise ValueError(
                f"max_epochs must allow a trial, of {needed} epochs, but got {self.max_epochs}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _check_distillation(self) -> Self:
        if self.distills is not None and (self.lands is None or self.final != "refit"):
            raise ValueError("distills belongs to a job that lands another one with final 'refit'")
        return self

    @pydantic.model_validator(mode="after")
    def _check_test(self) -> Self:
        if self.reopen_test and self.keep_test_closed:
            raise ValueError("a test set is kept closed or reopened, but both were asked for")
        return self

    @pydantic.model_validator(mode="after")
    def _check_pruning(self) -> Self:
        if self.discard_after is not None and self.pruning != "discard":
            raise ValueError(
                f"discard_after belongs to the pruning 'discard', but this one is {self.pruning!r}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _check_objectives(self) -> Self:
        if self.minimize is None:
            return self
        for name, chosen, possible in (
            ("strategy", self.strategy, STRATEGIES_WITH_A_COST),
            ("pruning", self.pruning, PRUNINGS_WITH_A_COST),
        ):
            if chosen not in possible:
                raise ValueError(
                    f"with minimize, {name} must be one of {', '.join(possible)}, "
                    f"but got {chosen!r}"
                )
        return self

    @property
    def wants_baselines(self) -> bool:
        """Whether simple models are measured, too."""
        if self.baselines is not None:
            return self.baselines
        return self.budget is None or self.budget >= LEAST_BUDGET

    @property
    def measures_latency(self) -> bool:
        """Whether it matters how long predictions take."""
        return self.max_latency is not None or self.minimize == "latency"

    @property
    def finalist_count(self) -> int:
        """How many trials are finalists, in a race or not; fewer if there are not so many."""
        costs = self.minimize is not None
        usual = finalists_for(self.budget, workers=self.worker_count, costs=costs)
        return min(self.finalists or usual, self.trials or MAX_FINALISTS)

    @property
    def survivor_count(self) -> int:
        """How many of them are trained for the ensemble: all, where so many were asked for."""
        usual = 1 if self.minimize is not None else survivors_for(self.budget)
        return min(self.finalists or usual, self.finalist_count)

    def fold_count(self, *, rarest: int, refit: bool) -> int:
        """Return on how many folds each finalist is trained.

        Args:
            rarest: rows of the rarest class of which each part needs one.
            refit: each is trained on all rows as well.
        """
        usual = folds_for(survivors=self.survivor_count, workers=self.worker_count, refit=refit)
        return self.folds or min(usual, max(1, rarest - 1))

    def split_count(self, *, rows: int, rarest: int, count: int) -> int:
        """Return into how many parts so many training rows are split.

        Args:
            count: folds on which finalists are trained; one more judges the trials.
        """
        return max(count + 1, min(splits_for(rows=rows, folds=count), rarest))

    @classmethod
    def parse(cls, data: Any, *, where: str = "") -> "JobSpec":
        """Validate plain data; `JobError` states the first rule that is broken."""
        spec = validated(cls, data, error=JobError, where=where)._within_device_budget()
        return spec.model_copy(update={"data": absolute(spec.data)})

    @classmethod
    def read(cls, path: Path, *, overrides: Mapping[str, Any] | None = None) -> "JobSpec":
        """Read a YAML job file; a relative data path is relative to the file's folder.

        Args:
            overrides: keys that replace the file's.
        """
        if path.is_dir() or str(path) in NAMED_SOURCES:
            raise JobError(
                f"a job must be a YAML file, but got {path}: did you mean --data {path}?"
            )
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as failure:
            raise JobError(f"a job file must be readable: {path}: {failure}") from None
        except (yaml.YAMLError, ValueError) as failure:  # ValueError: 2024-13-45 is no date
            line = str(failure).replace("\n", " ")
            raise JobError(f"a job file must be YAML: {path}: {line}") from None
        if not isinstance(data, dict):
            raise JobError(
                f"a job file must hold keys and values, but {path} holds none; images and tables "
                "of them are named by --data"
            )
        source = data.get("data")
        if isinstance(source, str):
            data["data"] = absolute(source, base=path.parent, where=f"{path}: ")
        space = data.get("space")
        if isinstance(space, str) and space.endswith(SUFFIXES):
            data["space"] = str(path.parent / expanded(space, where=f"{path}: "))
        if isinstance(space, dict):
            weights = space.get("weights")
            if isinstance(weights, str) and weights.endswith(WEIGHTS):
                data["space"] = {**space, "weights": str(path.parent / expanded(weights))}
        return cls.parse({**data, **(overrides or {})}, where=str(path))
