"""Real Fashion-MNIST images through a whole job."""

import json
from pathlib import Path

import pytest

from benchmarks.main_job import measure
from search.job_spec import JobSpec
from tests.command import athanor, result_of

EXAMPLES = Path(__file__).parent.parent / "examples"
JOB = """\
data: fashion-mnist
budget: 40s
trials: 3
folds: 2
finalists: 1
search_rows: 3000
search_epochs: 2
space: {width: [8], stages: [2, 2], depth: [1, 1], stem_strides: [2]}
"""


def test_a_small_search_on_real_images_lands(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    found = result_of(athanor("search", "job.yaml", "--out", "best", "--json", cwd=tmp_path))
    assert found["result"]["test_rows"] == 10_000
    assert found["result"]["test_accuracy"] > 0.8
    manifest = json.loads((tmp_path / "best" / "model.json").read_text())
    assert manifest["class_names"][9] == "Ankle boot"
    assert manifest["protocol"]["train_rows"] == 60_000


@pytest.mark.slow
def test_a_search_of_forty_seconds_keeps_its_promises() -> None:
    found = measure(budget=40.0, seed=1)
    assert found["test_accuracy"] > 0.7
    assert found["predict_accuracy"] == found["test_accuracy"]
    assert found["folds"] == 4
    assert found["pruned"] >= 1
    assert found["overrun_s"] < 10.0


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_a_valid_job(path: Path) -> None:
    assert JobSpec.read(path).data
