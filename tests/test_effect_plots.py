"""Pictures of effects show what the influences say, in the formats that are offered."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import create_trial

from athanor.effect_plots import draw_effects
from search.influence import Influences, influences
from spaces.errors import InputError
from tests.test_influence import study_of


def texts(path: Path) -> list[str]:
    """Return all text of an SVG picture."""
    root = ElementTree.parse(path).getroot()
    return [
        "".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")
    ]


def of_choices(count: int, *, parameters: int) -> Influences:
    """Return the influences in a study of trials that all chose, the last one otherwise."""
    study, names = optuna.create_study(direction="maximize"), "abcdefghijkl"[:parameters]
    for number in range(count):
        params = {name: (number // (n + 1)) % 2 == 0 for n, name in enumerate(names)}
        spaces: dict[str, BaseDistribution] = {
            name: CategoricalDistribution((True, False)) for name in names
        }
        study.add_trial(create_trial(params=params, distributions=spaces, value=number / count))
    return influences(study)


def test_a_picture_shows_every_parameter_and_pair_with_what_is_expected(tmp_path: Path) -> None:
    found = influences(study_of(60))
    draw_effects(found, tmp_path / "effects.svg")
    shown = texts(tmp_path / "effects.svg")
    assert "expected final score, by a model of 60 trials" in shown
    for influence in found.parameters:
        assert influence.name in shown and f"fANOVA {influence.fanova:.2f}" in shown
    for block in ("plain", "residual", "nin"):
        assert block in shown
    for pair in found.interactions[:4]:
        assert f"together {pair.share:.1%} of the variance" in shown
        for row in pair.scores:
            assert {f"{score:.3f}" for score in row} <= set(shown)


@pytest.mark.parametrize("parameters", [1, 5, 12])
def test_pictures_of_any_number_of_parameters_are_drawn(tmp_path: Path, parameters: int) -> None:
    found = of_choices(16, parameters=parameters)
    draw_effects(found, tmp_path / "effects.svg")
    shown = texts(tmp_path / "effects.svg")
    assert {each.name for each in found.parameters[:8]} <= set(shown)
    assert sum(text.startswith("fANOVA") for text in shown) == min(8, len(found.parameters))


@pytest.mark.parametrize(("name", "begins"), [("e.png", b"\x89PNG"), ("e.PDF", b"%PDF")])
def test_other_formats_are_written(tmp_path: Path, name: str, begins: bytes) -> None:
    draw_effects(of_choices(16, parameters=2), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("effects.gif", r"one of \.svg, \.png, \.pdf, but got 'effects\.gif'"),
        ("nowhere/effects.svg", "folder must exist, but there is no .*nowhere"),
    ],
)
def test_a_picture_that_cannot_be_written_is_refused(tmp_path: Path, name: str, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        draw_effects(of_choices(16, parameters=2), tmp_path / name)
    assert not list(tmp_path.iterdir())
