"""`Leaderboard`: a job's trials, the best first, with what simple models reach, and the front."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from athanor.progress import Progress
from search.attributes import Cost
from search.baselines import Baseline
from search.folds import JUDGING_FOLD
from search.job import Job
from search.metrics import METRICS, Metric, score_text
from search.optimism import score_of_a_choice
from search.pairing import Difference, Judged, difference
from search.store import FoldTask, StudyStore, TrialRecord
from search.store.records import pareto_front

SHOWN = 15  # trials on a terminal
COST_NAMES: dict[Cost, str] = {"parameters": "parameters", "macs": "MACs", "latency": "latency"}


@dataclass(frozen=True)
class Leaderboard:
    """What a search has found so far, read from the store at one moment.

    Attributes:
        trials: those with a score, the best first.
        folds: on which finalists are, or will be, trained.
        baselines: simple models, judged on the same rows as the trials.
    """

    job: Job
    trials: list[TrialRecord]
    folds: list[FoldTask]
    baselines: list[Baseline]

    @classmethod
    def read(cls, store: StudyStore, progress: Progress) -> "Leaderboard":
        """Read a job's leaderboard; that of a job without a study is empty."""
        if not store.has_study(progress.job):
            return cls(job=progress.job, trials=[], folds=[], baselines=[])
        trials = store.trials(progress.job)
        return cls(
            job=progress.job,
            trials=trials.leaderboard(),
            folds=progress.folds,
            baselines=trials.baselines(),
        )

    @property
    def metric(self) -> Metric:
        """By which the trials are ranked."""
        plan, stated = self.job.plan, self.job.spec.metric
        return METRICS[stated or "accuracy" if plan is None else plan.metric]

    @property
    def raced(self) -> dict[int, float]:
        """What finalists scored in the race, by trial."""
        heats = [task for task in self.folds if task.fold == JUDGING_FOLD]
        return {heat.trial: heat.score for heat in heats if heat.score is not None}

    @property
    def front(self) -> list[TrialRecord]:
        """The trials that no other one beats in score and cost, where a cost counts at all.

        Once networks of all costs have raced, it is that of their longer trainings: short ones
        flatter small networks.
        """
        cost = self.job.spec.minimize
        return [] if cost is None else pareto_front(self.trials, cost, raced=self.raced)

    def behind(self, record: TrialRecord) -> Difference | None:
        """Compare a finished trial with the first one, on the same images; None for that itself."""
        first = self.trials[0]
        if record is first:
            return None
        mine, best = self._judged(record), self._judged(first)
        return None if mine is None or best is None else difference(mine, best)

    def _judged(self, record: TrialRecord) -> Judged | None:
        return record.judged(by_accuracy=self.metric.name == "accuracy")

    @property
    def tied(self) -> list[TrialRecord]:
        """The trials that cannot be told from the first one, and that one, the smallest first."""
        if not self.trials:
            return []
        others = [(record, self.behind(record)) for record in self.trials[1:]]
        equal = [record for record, apart in others if apart is not None and apart.tied]
        return sorted([self.trials[0], *equal], key=lambda r: (r.parameters or 0, r.number))

    @cached_property
    def corrected(self) -> float | None:
        """The best finished trial's score on images that did not choose it, if it is known."""
        finished = [record for record in self.trials if record.state == "complete"]
        judged = [found for record in finished if (found := self._judged(record)) is not None]
        return score_of_a_choice(judged) if len(judged) == len(finished) else None

    def json(self) -> dict[str, Any]:
        """Return everything."""
        front = [record.number for record in self.front]
        return {
            "job": self.job.id,
            "state": self.job.state,
            "best_trial": self.trials[0].number if self.trials else None,
            **({} if self.job.spec.minimize is None else {"front": front}),
            "trials": [self._trial_json(record) for record in self.trials],
            "tied": [record.number for record in self.tied],
            "best_corrected": self.corrected,
            "baselines": [asdict(baseline) for baseline in self.baselines],
        }

    def print(self, console: Console) -> None:
        """Print the best trials, the baselines and the front."""
        console.print(self._table())
        if len(self.tied) > 1:
            console.print(self._tied_text(), highlight=False, soft_wrap=True)
        if self.corrected is not None:
            console.print(self._corrected_text(self.corrected), highlight=False, soft_wrap=True)
        if self.front:
            console.print(self._front_table())

    def _trial_json(self, record: TrialRecord) -> dict[str, Any]:
        mine = [task for task in self.folds if task.trial == record.number]
        apart = self.behind(record)
        return {
            "trial": record.number,
            "state": record.state,
            "score": record.score,
            "behind": None if apart is None else {**asdict(apart), "tied": apart.tied},
            "curve": {str(epoch): value for epoch, value in record.curve.items()},
            "parameters": record.parameters,
            "macs": record.macs,
            "latency": record.latency,
            "seconds": record.seconds,
            "note": record.note,
            "folds": {str(task.fold): task.score for task in mine if task.score is not None},
            "candidate": None if record.candidate is None else record.candidate.to_json(),
        }

    def _table(self) -> Table:
        """Draw the best trials; the score is that on a sample of the judging fold."""
        metric = self.metric.label
        table = Table(
            title=f"leaderboard ({metric})", title_justify="left", box=SIMPLE, pad_edge=False
        )
        for name in ("", "trial", "state", "score", "behind", "folds", "params", "MMACs"):
            table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
        table.add_column("network", no_wrap=True, overflow="ellipsis")
        for place, record in enumerate(self.trials[:SHOWN], start=1):
            table.add_row(
                str(place),
                str(record.number),
                record.state,
                "" if record.score is None else score_text(record.score),
                self._behind_text(record),
                self.folds_text(record),
                f"{record.parameters / 1e3:.0f} k" if record.parameters is not None else "",
                f"{record.macs / 1e6:.2f}" if record.macs is not None else "",
                str(record.candidate.architecture) if record.candidate else "",
            )
        for baseline in self.baselines:
            score = "" if baseline.score is None else score_text(baseline.score)
            about = f"{baseline.name}, {baseline.rows:,} rows"
            if baseline.note:
                about = escape(f"{baseline.name}: {baseline.note}")
            table.add_row("", "", "baseline", score, "", "", "", "", about)
        return table

    def _behind_text(self, record: TrialRecord) -> str:
        apart = self.behind(record)
        if apart is None:
            return ""
        return "tied" if apart.tied else self.metric.gap_text(-apart.share)

    def _tied_text(self) -> str:
        """Say which trials luck may have put in their order."""
        numbers = ", ".join(str(number) for number in sorted(r.number for r in self.tied))
        smallest = self.tied[0]
        size = f" ({(smallest.parameters or 0) / 1e3:.0f} k parameters)"
        return (
            f"trials {numbers} are tied: on the same images, the 95 % interval of their difference "
            f"to the best holds zero; the smallest is {smallest.number}{size}"
        )

    def _corrected_text(self, corrected: float) -> str:
        """Say what is left of the best score without luck."""
        count = sum(record.state == "complete" for record in self.trials)
        return (
            f"the best of {count} scores is partly the luckiest: judged on images that did not "
            f"choose it, it would be about {score_text(corrected)}"
        )

    def folds_text(self, record: TrialRecord) -> str:
        """Say what a trial scored on the folds that it was trained on as a finalist."""
        mine = [task for task in self.folds if task.trial == record.number]
        scores = [t.score for t in mine if t.fold > JUDGING_FOLD and t.score is not None]
        return f"{score_text(sum(scores) / len(scores))} x {len(scores)}" if scores else ""

    def _front_table(self) -> Table:
        """Draw the front, the cheapest trial first, and what else has raced."""
        spec, cost = self.job.spec, self.job.spec.minimize
        assert cost is not None
        errors = f"{spec.tolerance:g} standard error{'' if spec.tolerance == 1.0 else 's'}"
        table = Table(
            title=f"front of {self.metric.label} and {COST_NAMES[cost]}; "
            f"within {errors} of the best the cheapest is chosen",
            title_justify="left",
            box=SIMPLE,
            pad_edge=False,
        )
        for name in ("", "trial", "score", "raced", COST_NAMES[cost], "of the best's"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("network", no_wrap=True, overflow="ellipsis")
        front, raced = self.front, self.raced
        chosen = {task.trial for task in self.folds if task.fold != JUDGING_FOLD and task.done}
        others = [record for record in self.trials if record.number in raced]
        shown = {record.number: record for record in (*front, *others)}
        most = front[-1].cost(cost)
        for record in sorted(shown.values(), key=lambda each: each.cost(cost) or 0.0):
            price = record.cost(cost)
            assert price is not None and most is not None and record.score is not None
            role = "chosen" if record.number in chosen else "" if record in front else "beaten"
            table.add_row(
                role,
                str(record.number),
                score_text(record.score),
                score_text(raced[record.number]) if record.number in raced else "",
                f"{1e3 * price:.2f} ms" if cost == "latency" else f"{price:,.0f}",
                f"{price / most:.0%}" if most else "",
                str(record.candidate.architecture) if record.candidate else "",
            )
        return table
