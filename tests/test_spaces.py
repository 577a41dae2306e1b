"""Every point of a space is a candidate within its choices, and comes back unchanged."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spaces.architecture import Architecture, Head, Stage, Stem
from spaces.cnn import CnnSpace
from spaces.errors import SpaceError
from spaces.recipe import Candidate, Recipe
from spaces.recipe_space import RecipeSpace
from spaces.values import Value
from tests.candidates import DEFAULT, SIMPLE, SPACES, random_study, residual, sample

# --- values ----------------------------------------------------------------------------------


def through_json(value: Value) -> Value:
    return type(value).from_json(json.loads(json.dumps(value.to_json())))


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_candidates_survive_json(space: CnnSpace) -> None:
    for candidate in sample(space, n=15):
        for value in (candidate, candidate.architecture, candidate.recipe):
            restored = through_json(value)
            assert restored == value and hash(restored) == hash(value)
            assert restored.digest == value.digest


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_spaces_survive_json(space: CnnSpace) -> None:
    assert through_json(space) == space


def test_digests_are_equal_for_equal_values_only() -> None:
    written = {"stages": [{"width": 8.0, "depth": 1}], "stem": {"kernel": 3, "width": 4}}
    assert Architecture.from_json(written).digest == SIMPLE.digest
    candidates = {candidate.digest for candidate in sample(DEFAULT, n=30)}
    assert len(candidates) == 30
    assert Recipe(dropout=0.1).digest != Recipe().digest


def test_values_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        SIMPLE.stem = Stem(width=5)


def test_an_architecture_reads_as_one_short_line() -> None:
    architecture = Architecture(
        stem=Stem(width=8, stride=2),
        stages=(Stage(depth=2, width=8, kernel=5), residual(16, depth=1)),
        head=Head(hidden=(64,)),
    )
    assert str(architecture) == "S8/2 P8x2k5 R16x1k3 fc64"


STEM, STAGES = {"width": 4}, [{"depth": 1, "width": 8}]


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        (CnnSpace, {"kernels": [3, 4]}, "kernels.1: a kernel must be odd"),
        (CnnSpace, {"kernels": [0]}, "but got 0"),
        (CnnSpace, {"kernels": [-3]}, "a kernel must lie in 1..15, but got -3"),
        (CnnSpace, {"kernels": [17]}, "a kernel must lie in 1..15, but got 17"),
        (CnnSpace, {"kernels": []}, "kernels: "),
        (CnnSpace, {"blocks": []}, "blocks: "),
        (CnnSpace, {"width": []}, "width: "),
        (CnnSpace, {"recipe": {"optimizers": []}}, "recipe.optimizers: "),
        (CnnSpace, {"blocks": ["dense"]}, "but got 'dense'"),
        (CnnSpace, {"stages": [3, 2]}, "stages: `1 <= low <= high` must hold, but got (low=3"),
        (CnnSpace, {"depth": [0, 2]}, "depth: `1 <= low <= high` must hold, but got (low=0"),
        (CnnSpace, {"stages": [1, 17]}, "stages: at most 16 is possible, but got (low=1, high=17)"),
        (CnnSpace, {"depth": [1, 65]}, "depth: at most 64 is possible"),
        (CnnSpace, {"recipe": {"dropout": [0.5, 0.1]}}, "recipe.dropout: `0 <= low <= high`"),
        (CnnSpace, {"recipe": {"weight_decay": [0, 0.1]}}, "(low=0, high=0.1)"),
        (CnnSpace, {"width": [0]}, "width.0: input should be greater than or equal to 1"),
        (CnnSpace, {"kernel": [3]}, "unknown key 'kernel'; did you mean 'kernels'?"),
        (CnnSpace, {"recipe": {"mixupp": [0]}}, "recipe.mixupp: unknown key 'mixupp'; did you"),
        (Recipe, {"learning_rat": 1}, "did you mean 'learning_rate'?"),
        (Recipe, {"learning_rate": 0}, "learning_rate: input should be greater than 0, but got 0"),
        (Recipe, {"learning_rate": float("nan")}, "learning_rate: "),
        (Recipe, {"dropout": 1.0}, "dropout: input should be less than 1, but got 1.0"),
        (Architecture, {"stem": {"width": 4, "kernel": 2}, "stages": STAGES}, "stem.kernel: a ke"),
        (Architecture, {"stem": STEM, "stages": []}, "stages: "),
        (Architecture, {"stem": STEM, "stages": [{**STAGES[0], "dept": 1}]}, "mean 'depth'?"),
        (Architecture, {"stages": STAGES}, "stem: this key is required"),
        (Candidate, {"architecture": {"stem": STEM}, "recipe": {}}, "architecture.stages: this"),
        (Recipe, [1], "but got [1]"),
    ],
)
def test_values_that_break_a_rule_are_refused_in_one_line(
    kind: type[Value], data: Any, said: str
) -> None:
    with pytest.raises(SpaceError) as refusal:
        kind.from_json(data)
    message = str(refusal.value)
    assert said in message and "\n" not in message


# --- sampling --------------------------------------------------------------------------------


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("side", [28, 7])
def test_a_frozen_trial_replays_to_the_same_candidate(space: CnnSpace, side: int) -> None:
    study = random_study()
    sampled = [space.suggest(study.ask(), side=side, epochs=3) for _ in range(20)]
    replayed = [space.suggest(trial, side=side, epochs=3) for trial in study.trials]
    assert replayed == sampled
    assert all(candidate.recipe.epochs == 3 for candidate in sampled)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_every_trial_has_the_same_parameters_and_ranges(space: CnnSpace) -> None:
    study = random_study()
    candidates = [space.suggest(study.ask(), side=28, epochs=1) for _ in range(20)]
    assert len({len(candidate.architecture.stages) for candidate in candidates}) > 1
    for trial in study.trials[1:]:
        assert trial.distributions == study.trials[0].distributions
    assert set(study.trials[0].params) <= set(space.prior(size=8))


def test_candidates_keep_to_the_choices() -> None:
    space = CnnSpace(
        stages=(2, 3),
        depth=(2, 2),
        width=(12,),
        kernels=(5,),
        blocks=("residual",),
        hidden=(7,),
        stems=("convolution",),
    )
    for candidate in sample(space, n=10):
        architecture = candidate.architecture
        assert architecture.stem.width == 12 and architecture.head.hidden == (7,)
        assert 2 <= len(architecture.stages) <= 3
        for stage in architecture.stages:
            assert (stage.block, stage.depth, stage.kernel) == ("residual", 2, 5)


def some(*values: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, unique=True)


def spans(low: float, high: float) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(low, high), min_size=2, max_size=2).map(sorted)


narrowed_recipes = st.fixed_dictionaries(
    {},
    optional={
        "optimizers": some("sgd", "adamw"),
        "sgd_learning_rate": spans(0.001, 1.0),
        "weight_decay": spans(1e-6, 0.1),
        "dropout": spans(0.0, 0.9),
        "label_smoothing": spans(0.0, 0.5),
        "augmentations": some("flip", "shift", "none"),
        "schedules": some("cosine", "step"),
        "stochastic_depths": some(0.0, 0.2),
        "layer_rate_factors": some(0.8, 1.25),
        "batch_sizes": some(32, 64, 128),
    },
)
narrowed_spaces = st.fixed_dictionaries(
    {},
    optional={
        "stages": st.lists(st.integers(1, 4), min_size=2, max_size=2).map(sorted),
        "depth": st.lists(st.integers(1, 4), min_size=2, max_size=2).map(sorted),
        "width": some(4, 6, 20),
        "width_rule": st.sampled_from(["double", "free"]),
        "width_factors": some(1.0, 1.25),
        "kernels": some(1, 5, 7),
        "blocks": some("plain", "residual", "bottleneck", "nin", "separable", "inverted"),
        "block_rule": st.sampled_from(["same", "free"]),
        "norms": some("batch", "group", "none"),
        "squeezes": some(0, 4),
        "expansions": some(2, 6),
        "grids": some(1, 2),
        "stems": some("whitening", "convolution", "patch"),
        "activations": some("silu", "gelu"),
        "stem_strides": some(1, 2, 4),
        "hidden": some(0, 5, 9),
        "recipe": narrowed_recipes,
    },
)


SPANS = {"sgd_learning_rate", "adamw_learning_rate", "weight_decay", "dropout", "label_smoothing"}


@given(data=narrowed_spaces, width=st.sampled_from([4, 16, 20]))
@settings(deadline=None, max_examples=50)
def test_the_prior_lies_within_any_narrowed_space(data: dict[str, Any], width: int) -> None:
    space = CnnSpace.from_json(data)
    prior = space.prior(size=width)
    study = random_study()
    study.enqueue_trial(prior)
    trial = study.ask()
    candidate = space.suggest(trial, side=28, epochs=2)
    assert trial.params.items() <= prior.items()
    assert candidate.architecture.stages[0].width == prior["width"]
    parameters = set(trial.params)
    single = {name for name, each in trial.distributions.items() if each.single()}
    assert single <= {"stages", *SPANS} | {name for name in parameters if name[:6] == "depth_"}


def test_the_prior_of_the_default_space_is_small_and_plain() -> None:
    study = random_study()
    study.enqueue_trial(DEFAULT.prior(size=16))
    candidate = DEFAULT.suggest(study.ask(), side=28, epochs=2)
    assert str(candidate.architecture) == "W32/1 P16x2k3 P32x2k3 P64x2k3"
    assert candidate.architecture.views == "flip"
    assert candidate.recipe.optimizer == "sgd" and candidate.recipe.learning_rate == 0.2


@pytest.mark.parametrize(
    "data",
    [
        {"hidden": [5000]},
        {"width": [1024], "stages": [4, 4]},
        {"width_rule": "free", "width_factors": [0.001]},
        {"width_rule": "free", "width_factors": [-1.0]},
        {"blocks": ["inception"], "width": [8]},
        {"blocks": ["inception", "nin"], "width": [16], "block_rule": "free"},
        {"blocks": ["inception"], "width": [16], "width_rule": "free", "width_factors": [0.5]},
        {"recipe": {"dropout": [0.9, 3.0]}},
        {"recipe": {"label_smoothing": [0.9, 2.0]}},
        {"recipe": {"weight_decay": [1.0, 100.0]}},
        {"recipe": {"sgd_learning_rate": [1.0, 100.0], "optimizers": ["sgd"]}},
        {"recipe": {"adamw_learning_rate": [1.0, 100.0], "optimizers": ["adamw"]}},
        {"recipe": {"batch_sizes": [1]}},
        {"recipe": {"mixup": [-1.0]}},
    ],
    ids=str,
)
def test_a_space_is_refused_at_once_or_never_fails(data: dict[str, Any]) -> None:
    try:
        space = CnnSpace.from_json(data)
    except SpaceError as refusal:
        assert "\n" not in str(refusal)
        return
    assert len(sample(space, n=10)) == 10


def test_every_field_of_the_recipe_but_a_few_is_sampled() -> None:
    study = random_study()
    first, second = (RecipeSpace().suggest(study.ask(), epochs=4) for _ in range(2))
    fixed = {"epochs", "clip_norm", "weights", "frozen"}  # the last two belong to scaled spaces
    assert {name for name in Recipe.model_fields if name not in first.model_fields_set} <= fixed
    assert first != second
