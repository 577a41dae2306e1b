"""A space may be keys, a file, a network's name or an object; each gives candidates."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from search.job_spec import JobSpec
from spaces.architecture import Architecture, Stage, Stem
from spaces.cnn import CnnSpace
from spaces.complexity import measure_complexity
from spaces.custom import CustomSpace
from spaces.errors import SpaceError
from spaces.reading import read_space
from spaces.recipe import Candidate, Recipe
from spaces.recipe_space import RecipeSpace
from spaces.scaled import ScaledSpace
from spaces.zoo import ZOO, fitted
from tests.candidates import SIMPLE, random_study


class Own:
    """Two widths of one small network."""

    def suggest(self, trial: Any, *, side: int, epochs: int) -> Candidate:
        """Sample a width."""
        stage = Stage(depth=1, width=trial.suggest_categorical("width", [8, 16]))
        network = Architecture(stem=Stem(width=8), stages=(stage,))
        return Candidate(architecture=network, recipe=Recipe(epochs=epochs))

    def prior(self) -> dict[str, Any]:
        """Return the wider one."""
        return {"width": 16}


class Wrong(Own):
    """Returns what is no candidate."""

    def suggest(self, trial: Any, *, side: int, epochs: int) -> Any:
        """Return a number."""
        return 3


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> str:
    found = ModuleType("spaces_of_somebody")
    found.OWN, found.WRONG, found.NARROW = Own(), Wrong(), CnnSpace(width=(4,))  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, found.__name__, found)
    return found.__name__


@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_network_by_name_is_scaled_around_itself(name: str) -> None:
    space = read_space(name)
    assert isinstance(space, ScaledSpace) and space.sizes == (0.125, 0.25, 0.5, 1.0)
    study = random_study()
    study.enqueue_trial(space.prior(size=1.0))
    own = space.suggest(study.ask(), side=32, epochs=2).architecture
    expected = fitted(ZOO[name], side=32)
    assert own.model_copy(update={"views": "one"}) == expected
    costs = set()
    for _ in range(8):
        candidate = space.suggest(study.ask(), side=32, epochs=2)
        cost = measure_complexity(candidate.architecture, image_shape=(32, 32, 3), classes=10)
        assert len(candidate.architecture.stages) == len(expected.stages)
        costs.add(cost.parameters)
    assert (
        len(costs) > 2
        and max(costs)
        <= measure_complexity(expected, image_shape=(32, 32, 3), classes=10).parameters
    )


def test_a_narrowed_scaled_space_keeps_the_sizes_that_are_left() -> None:
    space = ScaledSpace(base=SIMPLE, widths=(1.0, 2.0, 4.0))
    assert space.sized([1.0, 4.0]).sizes == (1.0, 4.0)
    trial = random_study().ask()
    only = space.sized([4.0]).suggest(trial, side=28, epochs=1)
    assert only.architecture.stages[0].width == 32 and "width_factor" not in trial.params


def test_a_network_without_norms_begins_gently() -> None:
    rates = [
        ScaledSpace(base=name).prior(size=1.0)["sgd_learning_rate"] for name in ("nin", "resnet18")
    ]
    assert rates[0] < rates[1]
    normed = ScaledSpace(base="nin", norms=("none", "batch"))
    assert normed.prior(size=1.0)["norm"] == "batch"
    assert normed.prior(size=1.0)["sgd_learning_rate"] == rates[1]


def test_a_file_holds_the_keys_and_a_job_finds_it_beside_itself(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("width: [4]\nkernels: [7]\n")
    expected = CnnSpace(width=(4,), kernels=(7,))
    assert read_space(str(tmp_path / "mine.yaml")) == expected
    job = tmp_path / "job.yaml"
    job.write_text("data: digits\nspace: mine.yaml\n")
    assert JobSpec.read(job).space == expected
    (tmp_path / "named.yml").write_text("kind: scaled\nbase: vgg11\n")
    assert read_space(str(tmp_path / "named.yml")) == ScaledSpace(base="vgg11")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1", "must hold keys and values"),
        ("a: [", "must be YAML"),
        (None, "must be readable"),
        ("kernels: [2]", "kernels.0: a kernel must be odd"),
    ],
)
def test_a_file_that_is_no_space_is_refused(text: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SpaceError) as refusal:
        read_space(str(path))
    assert said in str(refusal.value) and "\n" not in str(refusal.value)


def test_an_object_is_a_space_or_makes_one(module: str) -> None:
    assert read_space(f"{module}:NARROW") == CnnSpace(width=(4,))
    space = read_space(f"{module}:OWN")
    assert isinstance(space, CustomSpace)
    restored = read_space(json.loads(json.dumps(space.to_json())))
    assert restored == space and restored.recipe == RecipeSpace()
    study = random_study()
    study.enqueue_trial(restored.prior(size=restored.sizes[0]))
    widths = [restored.suggest(study.ask(), side=28, epochs=3) for _ in range(6)]
    assert widths[0].architecture.stages[0].width == 16
    assert {each.architecture.stages[0].width for each in widths} == {8, 16}
    assert {each.recipe.epochs for each in widths} == {3}


def test_an_object_that_makes_no_candidates_is_refused(module: str) -> None:
    space = read_space(f"{module}:WRONG")
    with pytest.raises(SpaceError, match="suggest must return a Candidate, but got 3"):
        space.suggest(random_study().ask(), side=28, epochs=1)
    space.check()
    gone = CustomSpace(object="nowhere_to_be_found:Space")
    with pytest.raises(SpaceError, match="must be importable"):
        gone.check()
    with pytest.raises(SpaceError, match="must be importable: nowhere_to_be_found:Space: Module"):
        gone.prior(size=1.0)
