"""`athanor space` shows, samples and counts what a search may try."""

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from athanor.cli import main
from spaces.architecture import MIN_INCEPTION_WIDTH, BlockKind
from spaces.cnn import CnnSpace
from spaces.complexity import measure_complexity
from spaces.drawing import parts_of
from spaces.limits import Limits
from spaces.points import Parameter, parameters_of, random_candidates, settings
from spaces.zoo import ZOO, fitted
from tests.candidates import SPACES
from tests.command import asked
from tests.test_blocks import BLOCK_KINDS

EVERY: tuple[BlockKind, ...] = BLOCK_KINDS
RICH = CnnSpace(
    blocks=EVERY,
    block_rule="free",
    width=(MIN_INCEPTION_WIDTH, 24),
    norms=("batch", "group", "none"),
    squeezes=(0, 4),
    expansions=(2, 4),
    stems=("whitening", "convolution", "patch"),
    stem_strides=(1, 2, 4),
    grids=(1, 2),
)


@pytest.mark.parametrize("space", [*SPACES.values(), RICH], ids=[*SPACES, "rich"])
def test_the_parameters_of_a_space_are_those_of_its_trials(space: CnnSpace) -> None:
    parameters = parameters_of(space)
    for candidate in itertools.islice(random_candidates(space, seed=1, side=28), 20):
        assert candidate.architecture.stages[0].width in space.width
        assert space.recipe.dropout[0] <= candidate.recipe.dropout <= space.recipe.dropout[1]
    assert parameters["width"].choices == space.width and parameters["dropout"].count is None
    assert parameters["depth_1"].choices == tuple(range(space.depth[0], space.depth[1] + 1))


@pytest.mark.parametrize(("rule", "most"), [("same", 1), ("free", 4)])
def test_a_parameter_is_drawn_once_a_candidate(rule: Literal["same", "free"], most: int) -> None:
    space = CnnSpace(blocks=("plain", "residual", "nin", "separable"), block_rule=rule)
    drawn = itertools.islice(random_candidates(space, seed=0, side=28), 60)
    kinds = [{stage.block for stage in each.architecture.stages} for each in drawn]
    assert max(map(len, kinds)) == most and len(set().union(*kinds)) == 4


def test_settings_multiply_and_leave_ranges_out() -> None:
    one = [Parameter(choices=(1, 2, 3)), Parameter(choices=("x", "y"))]
    assert settings([*one, Parameter(low=0.0, high=1.0)]) == 6
    assert settings([*one, Parameter(low=0.0, high=1.0)], levels=5) == 30
    assert settings([*one, Parameter(low=1.0, high=1.0)], levels=5) == 6


@pytest.mark.parametrize("name", sorted(ZOO))
def test_the_parts_of_a_network_cost_what_the_whole_does(name: str) -> None:
    network, shape = fitted(ZOO[name], side=28), (28, 28, 1)
    parts = parts_of(network, image_shape=shape, classes=10)
    whole = measure_complexity(network, image_shape=shape, classes=10)
    assert sum(part.parameters for part in parts) == whole.parameters
    assert sum(part.macs for part in parts) == whole.macs
    assert parts[-1].shape == (10,) and parts[0].name == "stem"
    blocks = [part for part in parts if "." in part.name]
    assert len(blocks) == sum(stage.depth for stage in network.stages)
    assert [part.shape[0] for part in blocks] == [
        stage.width for stage in network.stages for _ in range(stage.depth)
    ]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_thousand_samples_can_be_built_and_measured() -> None:
    most = {"macs": 10_000_000, "parameters": 500_000, "activations": 400_000}
    limits = Limits(**most)
    within = 0
    for candidate in itertools.islice(random_candidates(RICH, seed=0, side=28), 10_000):
        cost = measure_complexity(candidate.architecture, image_shape=(28, 28, 1), classes=10)
        excess = limits.excess(cost)
        fits = all(value <= 0.0 for value in excess.values())
        assert fits == all(getattr(cost, name) <= limit for name, limit in most.items())
        within += fits
    assert 1000 < within < 9000


Command = Callable[..., str]


@pytest.fixture
def space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Return what runs `athanor space` within this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["athanor", "space", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        told = capsys.readouterr()
        assert not end.value.code, told.err
        return told.out

    return run


def test_show_draws_the_first_network(space: Command, tmp_path: Path) -> None:
    shown = asked("space", "show", cwd=tmp_path).stdout
    assert "sgd_learning_rate" in shown and "0.03 to 0.8, in logarithm" in shown
    assert "whitening 3x3, 18 channels, stride 1" in shown and "together" in shown
    (tmp_path / "mine.yaml").write_text("width: [4]\nstages: [1, 1]\nkernels: [7]\n")
    told = json.loads(space("show", "mine.yaml", "--json"))
    assert "width" not in told["parameters"]
    assert [part["name"] for part in told["prior"]["parts"]] == [
        "stem",
        "stage 1.1",
        "stage 1.2",
        "head",
    ]
    assert told["prior"]["parts"][1]["shape"] == [4, 14, 14]


def test_samples_keep_to_the_limits_and_repeat(space: Command) -> None:
    limits = ("--max-macs", "3000000", "--max-parameters", "90000")
    given = ("sample", "-n", "5", "--seed", "4", "--json", *limits)
    first, second = (json.loads(space(*given)) for _ in range(2))
    assert first == second and len(first) == 5
    assert all(each["macs"] <= 3_000_000 and each["parameters"] <= 90_000 for each in first)
    drawn = space("sample", "resnet18", "--shape", "32x32x3")
    assert "stage 4.1" in drawn and "learning_rate: " in drawn
    listed = space("sample", "-n", "3")
    assert listed.count("k3") + listed.count("k5") >= 3


def test_count_says_how_large_a_space_is(space: Command, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(
        "{kind: scaled, base: vgg11, widths: [0.25, 0.5], depths: [1.0],"
        " recipe: {optimizers: [sgd], schedules: [cosine], norm_bias_rates: [1.0],"
        " averagings: [none], mixup: [0.0], augmentations: [none], batch_sizes: [64]}}"
    )
    told = json.loads(space("count", "small.yaml", "--json"))
    assert told["settings"] == 2 and told["networks_of_1000"] == 2
    assert set(told["continuous"]) == {
        "sgd_learning_rate",
        "weight_decay",
        "dropout",
        "label_smoothing",
    }
    assert (
        "2 settings, and 4 continuous ranges"
        in asked("space", "count", "small.yaml", cwd=tmp_path).stdout
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "resnet19"), "a space must be keys, a YAML file, package.module:Object or one"),
        (("show", "--shape", "28x28"), "--shape must look like 28x28x1"),
        (("show", "--shape", "0x28x1"), "--shape must look like 28x28x1"),
        pytest.param(
            ("sample", "--max-macs", "10"),
            "limits (macs 10), but of 200 sampled only 0 were",
            marks=pytest.mark.slow,
        ),
        (("count", "missing.yaml"), "a space file must be readable: missing.yaml"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = asked("space", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
