"""Corrupt, hostile and odd inputs: each refused in one line, or skipped and said so."""

from pathlib import Path

import pytest

from benchmarks.bad_inputs import CASES, Case, bad_inputs, run_here
from benchmarks.hostile import good


def test_there_are_many_kinds_of_bad_inputs() -> None:
    assert len(CASES) >= 25 and len({case.name for case in CASES}) == len(CASES)


HERE = [case for case in CASES if "was not saved" not in case.name]  # loads a large library


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is wrong with how each input was handled, by its name."""
    figures = bad_inputs(tmp_path_factory.mktemp("inputs"), HERE, run=run_here)
    return {row["input"]: row["wrong"] for row in figures["rows"]}


@pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
def test_a_bad_input_is_handled(case: Case, found: dict[str, str]) -> None:
    assert not found[case.name]


def test_an_input_that_is_handled_otherwise_is_told(tmp_path: Path) -> None:
    wrong = [Case("good", good, "refused because", 2)]
    figures = bad_inputs(tmp_path, wrong, run=run_here)
    assert figures["bad_inputs_mishandled"] == 1 and figures["rows"][0]["wrong"]
