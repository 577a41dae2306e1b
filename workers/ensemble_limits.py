"""What the networks of a model folder may cost together, and what each of them costs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from search.joint_costs import WITHIN
from search.store import FoldTask
from spaces.architecture import Architecture
from spaces.complexity import measure_complexity
from spaces.errors import JobFailed
from workers.device import DevicePlan
from workers.fold_files import FoldFiles
from workers.latency import measure_latency
from workers.workbench import Workbench


@dataclass(frozen=True, slots=True)
class EnsembleLimits:
    """Limits on a model, and the costs of one network of each finalist.

    Attributes:
        limits: by what they limit: "latency" in seconds, "parameters".
        costs: of a network of each finalist, by trial, in the order of the limits.
    """

    limits: Mapping[str, float]
    costs: Mapping[int, tuple[float, ...]]

    def reachable(self) -> "EnsembleLimits":
        """Return limits that the cheapest finalist's network keeps: these, or wider ones."""
        dearest = {trial: max(self.shares(trial, 1), default=0.0) for trial in self.costs}
        cheapest = min(dearest, key=lambda trial: dearest[trial])
        if dearest[cheapest] <= WITHIN:
            return self
        pairs = zip(self.limits.items(), self.costs[cheapest], strict=True)
        wider = {name: max(limit, cost) for (name, limit), cost in pairs}
        return replace(self, limits=wider)

    def networks_each(self, count: int) -> int:
        """Return of how many networks each finalist may consist, `count` at most.

        Raises:
            JobFailed: no single network is within the limits.
        """
        for networks in range(count, 0, -1):
            if any(max(shares, default=0.0) <= WITHIN for shares in self._all_shares(networks)):
                return networks
        cheapest = [min(costs) for costs in zip(*self.costs.values(), strict=True)]
        raise JobFailed(
            f"a network must be within the limits {dict(self.limits)}, "
            f"but the cheapest ones take {cheapest}"
        )

    def _all_shares(self, networks: int) -> list[tuple[float, ...]]:
        return [self.shares(trial, networks) for trial in self.costs]

    def shares(self, trial: int, networks: int) -> tuple[float, ...]:
        """Return which part of each limit so many networks of a finalist take."""
        pairs = zip(self.costs[trial], self.limits.values(), strict=True)
        return tuple(networks * cost / limit for cost, limit in pairs)

    def total(self, networks: Sequence[FoldTask]) -> dict[str, float]:
        """Return what networks cost together, by what is limited."""
        sums = [sum(costs) for costs in zip(*(self.costs[t.trial] for t in networks), strict=True)]
        return dict(zip(self.limits, sums, strict=True))


def ensemble_limits(bench: Workbench, tasks: Sequence[FoldTask]) -> EnsembleLimits:
    """Measure what a network of each finalist costs, as far as that is limited."""
    spec = bench.job.spec
    asked = {"latency": spec.ensemble_latency, "parameters": spec.ensemble_parameters}
    limits = {name: float(limit) for name, limit in asked.items() if limit is not None}
    costs = {}
    for task in {task.trial: task for task in tasks}.values():
        costs[task.trial] = tuple(_cost(bench, task, name) for name in limits)
    return EnsembleLimits(limits=limits, costs=costs)


def _cost(bench: Workbench, task: FoldTask, name: str) -> float:
    """Return what a network costs; its latency is measured as it is deployed, in float32."""
    files = FoldFiles(bench.files.folder / str(task.files))
    described = json.loads(files.meta.read_text())["candidate"]["architecture"]
    architecture, plan = Architecture.from_json(described), bench.plan
    shape, classes = plan.image_shape, plan.classes
    if name == "parameters":
        found = measure_complexity(architecture, image_shape=shape, classes=classes)
        return float(found.parameters)
    batch = bench.job.spec.latency_batch
    return measure_latency(
        architecture, image_shape=shape, classes=classes, batch=batch, plan=DevicePlan()
    )
