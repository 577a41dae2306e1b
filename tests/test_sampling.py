"""Equal histories draw equal trials, whoever draws them and however often workers restart."""

from typing import Any

import optuna
import pytest
from optuna.trial import Trial

from search.sampling import GENERATION, SAMPLERS, Strategy, make_sampler
from search.seeds import derived_seed


def test_derived_seeds_are_stable_and_distinct() -> None:
    assert derived_seed(0, "sampler", 1) == 1908934419
    parts = [(seed, kind, n) for seed in (0, 1) for kind in ("sampler", "fold") for n in range(50)]
    seeds = [derived_seed(*part) for part in parts]
    assert len(set(seeds)) == len(parts)
    assert seeds == [derived_seed(*part) for part in parts]
    assert all(0 <= seed < 2**31 for seed in seeds)


def draw(trial: Trial, names: tuple[str, ...] = ("a", "b", "kind")) -> dict[str, Any]:
    for name in names:
        if name == "kind":
            trial.suggest_categorical(name, ("x", "y", "z"))
        else:
            trial.suggest_float(name, 0.0, 1.0)
    return trial.params


class Search:
    """A study in memory, whose workers may be restarted."""

    def __init__(self, strategy: Strategy = "tpe", *, seed: int = 0) -> None:
        self.strategy, self.seed = strategy, seed
        self.storage = optuna.storages.InMemoryStorage()
        optuna.create_study(storage=self.storage, study_name="s", direction="maximize")
        self.restart()

    def restart(self) -> None:
        """Go on with a new study object and a new sampler."""
        sampler = make_sampler(self.strategy, seed=self.seed)
        self.study = optuna.load_study(study_name="s", storage=self.storage, sampler=sampler)

    def run(self, trials: int) -> None:
        """Run trials whose value depends on what was drawn."""
        for _ in range(trials):
            trial = self.study.ask()
            drawn = draw(trial)
            self.study.tell(trial, drawn["a"] - abs(drawn["b"] - 0.3))

    @property
    def drawn(self) -> list[dict[str, Any]]:
        return [trial.params for trial in self.study.trials]


LONG = GENERATION + 4  # trials, so that models and populations have their turn
STRATEGIES = list(SAMPLERS)
BY_SEED = [strategy for strategy in STRATEGIES if strategy != "exhaustive"]


@pytest.mark.parametrize("strategy", BY_SEED)
def test_equal_histories_draw_equal_trials(strategy: Strategy) -> None:
    first, second, other = Search(strategy), Search(strategy), Search(strategy, seed=1)
    for search in (first, second, other):
        search.run(LONG)
    assert first.drawn == second.drawn
    different = sum(a != b for a, b in zip(first.drawn, other.drawn, strict=True))
    assert different >= LONG - 2
    assert len({str(drawn) for drawn in first.drawn}) >= LONG - 4
    assert sum(drawn["a"] != drawn["b"] for drawn in first.drawn) >= LONG - 4


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_restart_between_trials_changes_no_draw(strategy: Strategy) -> None:
    whole, broken = Search(strategy), Search(strategy)
    whole.run(LONG)
    for number in range(LONG):
        if number in (1, 4, 9, 10, 11, LONG - 2):
            broken.restart()
        broken.run(1)
    assert broken.drawn == whole.drawn


@pytest.mark.parametrize("before", [0, LONG])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_restart_within_a_trial_changes_no_draw(strategy: Strategy, before: int) -> None:
    whole, broken = Search(strategy), Search(strategy)
    whole.run(before + 1)
    broken.run(before)
    trial = broken.study.ask()
    draw(trial, ("a",))
    broken.restart()
    continued = Trial(broken.study, trial._trial_id)
    assert draw(continued) == whole.drawn[-1]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_most_draw_by_what_earlier_trials_gave(strategy: Strategy) -> None:
    searches = [Search(strategy), Search(strategy)]
    for sign, search in zip((1.0, -1.0), searches, strict=True):
        # the best trial of a space so small soon has no neighbours that have not been tried
        for _ in range(6 if strategy in ("greedy", "local") else LONG):
            trial = search.study.ask()
            search.study.tell(trial, sign * draw(trial)["a"])
    first, second = (draw(search.study.ask()) for search in searches)
    assert (first == second) is (strategy in ("random", "exhaustive"))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_trials_that_were_queued_or_run_beside_it_are_no_hindrance(strategy: Strategy) -> None:
    search = Search(strategy)
    search.study.enqueue_trial({"a": 0.5, "b": 0.25, "kind": "y"})
    first = search.study.ask()
    assert draw(first) == {"a": 0.5, "b": 0.25, "kind": "y"}
    beside = [draw(search.study.ask()) for _ in range(3)]
    search.study.tell(first, state=optuna.trial.TrialState.PRUNED)
    search.study.enqueue_trial({"kind": "x"})
    assert draw(search.study.ask())["kind"] == "x"
    search.run(LONG)
    assert all(each.keys() == {"a", "b", "kind"} for each in (*beside, *search.drawn))
