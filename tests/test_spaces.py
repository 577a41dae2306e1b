"""Every point of the space is a network that trains, and comes back from the record unchanged."""

import json
from collections.abc import Iterator
from typing import Any

import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spaces.architecture import Architecture, Head, Stage, Stem
from spaces.cnn import MIN_SIDE, CnnSpace
from spaces.complexity import count, measure_complexity
from spaces.errors import SpaceError
from spaces.limits import Complexity, Limits
from spaces.network import build_network, stem_width
from spaces.recipe import Candidate, Recipe
from spaces.recipe_space import RecipeSpace
from spaces.values import Value

DEFAULT = CnnSpace()
FREE = CnnSpace(width_rule="free", stages=(1, 5), depth=(1, 2), width=(4, 8), kernels=(1, 3, 7))
SMALL = CnnSpace(width=(4, 8), stages=(1, 4), depth=(1, 2), hidden=(0,))
SPACES = {"default": DEFAULT, "free": FREE, "small": SMALL}

SIMPLE = Architecture(
    stem=Stem(width=4), stages=(Stage(depth=1, width=8, kernel=3, downsampling="max"),)
)


@pytest.fixture(autouse=True)
def quiet_optuna() -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(level)


def random_study(seed: int = 0) -> optuna.Study:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed), direction="maximize")


def sample(space: CnnSpace, *, n: int, seed: int = 0, side: int = 28) -> list[Candidate]:
    study = random_study(seed)
    return [space.suggest(study.ask(), side=side, epochs=3) for _ in range(n)]


def residual(width: int, *, downsampling: Any = "none", depth: int = 2) -> Stage:
    return Stage(block="residual", depth=depth, width=width, downsampling=downsampling)


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
        (CnnSpace, {"stages": [1, 9]}, "stages: at most 8 is possible, but got (low=1, high=9)"),
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
    assert set(study.trials[0].params) == set(space.prior(width=8))


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
        "blocks": some("plain", "residual"),
        "activations": some("silu", "gelu"),
        "stem_strides": some(1, 2),
        "hidden": some(0, 5, 9),
        "recipe": narrowed_recipes,
    },
)


@given(data=narrowed_spaces, width=st.sampled_from([4, 16, 20]))
@settings(deadline=None, max_examples=50)
def test_the_prior_lies_within_any_narrowed_space(data: dict[str, Any], width: int) -> None:
    space = CnnSpace.from_json(data)
    prior = space.prior(width=width)
    study = random_study()
    study.enqueue_trial(prior)
    trial = study.ask()
    candidate = space.suggest(trial, side=28, epochs=2)
    assert trial.params == prior
    assert candidate.architecture.stages[0].width == prior["width"]


def test_the_prior_of_the_default_space_is_small_and_plain() -> None:
    study = random_study()
    study.enqueue_trial(DEFAULT.prior(width=16))
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


# --- networks --------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [28, 8])
@pytest.mark.parametrize("space", [DEFAULT, FREE], ids=["default", "free"])
def test_any_candidate_trains_a_step(space: CnnSpace, side: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, channels, side, side, generator=generator)
    labels = torch.tensor([0, 1, 2, 3])
    for candidate in sample(space, n=6, seed=side + channels, side=side):
        network = build_network(
            candidate.architecture,
            channels=channels,
            classes=5,
            dropout=candidate.recipe.dropout,
            seed=0,
        )
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=0.01)
        loss = nn.functional.cross_entropy(network(images), labels)
        torch.autograd.backward(loss)
        assert all(parameter.grad is not None for parameter in trained)
        optimizer.step()
        assert torch.isfinite(nn.functional.cross_entropy(network(images), labels))


@pytest.mark.parametrize("shape", [(28, 28), (33, 33), (8, 8), (9, 28), (5, 5), (2, 2), (1, 1)])
def test_widths_double_exactly_where_the_resolution_halves(shape: tuple[int, int]) -> None:
    for candidate in sample(SMALL, n=15, side=min(shape)):
        architecture = candidate.architecture
        network = build_network(architecture, channels=1, classes=2).eval()
        features: Tensor = network.stem(torch.zeros(1, 1, *shape))
        assert features.shape[1] == stem_width(architecture.stem, channels=1)
        for index, stage in enumerate(network.stages):
            before, features = features.shape, stage(features)
            after = features.shape
            halved = (-(-before[2] // 2), -(-before[3] // 2))
            if after[2:] == before[2:]:
                assert after[1] == before[1] or index == 0
            else:
                assert after[2:] == halved and min(before[2:]) > MIN_SIDE
                assert index == 0 or after[1] == before[1] * 2
        assert after[1] == architecture.stages[-1].width


@pytest.mark.parametrize(
    ("stages", "projections"),
    [
        ((residual(8, depth=3),), 0),
        ((residual(12, depth=3),), 1),
        ((residual(8, downsampling="max", depth=3),), 1),
        ((residual(8, downsampling="stride"), residual(8), residual(16)), 2),
        ((Stage(depth=2, width=16),), 0),
    ],
    ids=["same shape", "width", "resolution", "three stages", "plain"],
)
def test_a_residual_block_projects_only_where_the_shape_changes(
    stages: tuple[Stage, ...], projections: int
) -> None:
    architecture = Architecture(stem=Stem(width=8), stages=stages)
    network = build_network(architecture, channels=1, classes=2)
    kernels = [m.kernel_size for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert kernels.count((1, 1)) == projections


def weights(network: nn.Module) -> list[Tensor]:
    return list(network.state_dict().values())


def test_weights_depend_on_the_seed_alone() -> None:
    architecture = sample(DEFAULT, n=1)[0].architecture
    first = build_network(architecture, channels=3, classes=4, seed=5)
    torch.rand(3)
    second = build_network(architecture, channels=3, classes=4, seed=5)
    other = build_network(architecture, channels=3, classes=4, seed=6)
    assert all(map(torch.equal, weights(first), weights(second)))
    assert not all(map(torch.equal, weights(first), weights(other)))


def test_a_seeded_build_leaves_the_random_state_of_torch_alone() -> None:
    before = torch.random.get_rng_state()
    build_network(SIMPLE, channels=1, classes=2, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)


# --- cost ------------------------------------------------------------------------------------


def test_cost_of_a_convolution_and_a_linear_layer_counted_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(5 * 4 * 6, 7)
    )
    found = count(network, torch.zeros(1, 3, 4, 6))
    assert found.parameters == 3 * 5 * 9 + 5 * 4 * 6 * 7 + 7
    assert found.macs == 3 * 5 * 9 * 4 * 6 + 5 * 4 * 6 * 7


@pytest.mark.parametrize(("downsampling", "pixels"), [("max", 8 * 6), ("stride", 4 * 3)])
def test_cost_of_an_architecture_counted_by_hand(downsampling: Any, pixels: int) -> None:
    stage = Stage(depth=1, width=8, kernel=5, downsampling=downsampling)
    architecture = Architecture(stem=Stem(width=4), stages=(stage,))
    found = measure_complexity(architecture, image_shape=(8, 6, 3), classes=10)
    norms = 2 * 4 + 2 * 8
    assert found.parameters == 3 * 4 * 9 + 4 * 8 * 25 + norms + 8 * 10 + 10
    assert found.macs == 3 * 4 * 9 * (8 * 6) + 4 * 8 * 25 * pixels + 8 * 10


def test_measured_parameters_are_those_of_the_real_module() -> None:
    for candidate in sample(DEFAULT, n=10, side=16):
        architecture = candidate.architecture
        network = build_network(architecture, channels=3, classes=10)
        found = measure_complexity(architecture, image_shape=(16, 16, 3), classes=10)
        assert found.parameters == sum(parameter.numel() for parameter in network.parameters())
        network.views = "one"
        assert found == count(network.eval(), torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize(
    ("limits", "excess"),
    [
        (Limits(), {}),
        (Limits(parameters=1000), {"parameters": 0.0}),
        (Limits(parameters=500, macs=8000), {"parameters": 1.0, "macs": -0.5}),
    ],
)
def test_excess_is_the_share_beyond_each_limit(limits: Limits, excess: dict[str, float]) -> None:
    assert limits.excess(Complexity(parameters=1000, macs=4000)) == excess


def test_every_field_of_the_recipe_but_two_is_sampled() -> None:
    study = random_study()
    first, second = (RecipeSpace().suggest(study.ask(), epochs=4) for _ in range(2))
    fixed = {"epochs", "clip_norm"}
    assert {name for name in Recipe.model_fields if name not in first.model_fields_set} <= fixed
    assert first != second
