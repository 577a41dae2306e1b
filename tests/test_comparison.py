"""Jobs are compared on the rows that both have judged, or it is said why they cannot be."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from athanor.cli import app
from athanor.comparison.pages import comparison_page, pairs_lines
from athanor.comparison.reading import read_comparison
from athanor.comparison.values import Comparison
from athanor.places import Places
from athanor.report.reading import open_source
from search.job import Job
from search.metrics import METRICS, score_text
from search.pairing import paired
from search.store import StudyStore
from spaces.errors import InputError, JobError
from tests.small_job import CACHE, prepared, worked
from workers.data import ImageData, load_data


@dataclasses.dataclass(frozen=True)
class Ran:
    """Two jobs that are done, with equal seeds."""

    folder: Path
    store: StudyStore
    jobs: tuple[Job, Job]

    @property
    def places(self) -> Places:
        return Places(self.store.url, self.folder / "artifacts", CACHE)

    @property
    def names(self) -> list[str]:
        return [job.id for job in self.jobs]


def load(job: Job) -> ImageData:
    return load_data(job.spec.data, cache=CACHE)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("comparison")
    first, _ = worked(folder, folds=2, finalists=1)
    other = {"stages": [2, 2], "depth": [1, 1], "width": [4]}
    more = {"search_epochs": 3, "reopen_test": True, "space": other}
    second, _ = worked(folder, folds=2, finalists=1, **more)
    assert first.state == second.state == "done"
    store = StudyStore(f"sqlite:///{folder}/athanor.db")
    yield Ran(folder, store, (first, second))
    store.close()


@pytest.fixture(scope="module")
def found(ran: Ran) -> Comparison:
    return read_comparison(ran.store, ran.names, places=ran.places, load=load)


def test_sides_have_the_store_s_figures(ran: Ran, found: Comparison) -> None:
    for side, job in zip(found.sides, ran.jobs, strict=True):
        assert job.result is not None and side.out_of_fold is not None and side.test is not None
        assert side.out_of_fold.value == job.result["out_of_fold_score"]
        assert (side.rows, side.networks) == (job.result["out_of_fold_rows"], 2)
        assert side.test.value == job.result["test_accuracy"]
        best = ran.store.trials(job).leaderboard()[0]
        assert side.best is not None and side.best.value == best.score


def test_only_what_differs_is_listed(found: Comparison) -> None:
    differing = {each.name: each.values for each in found.settings}
    assert differing == {"search_epochs": ("1", "3"), "space: width": ("8", "4")}


def test_models_are_compared_row_by_row(ran: Ran, found: Comparison) -> None:
    (pair,) = found.pairs
    right = []
    for job in ran.jobs:
        files = ran.places.files(job.id)
        judged = open_source(ran.store, job.id, files=files, load=load).judged
        assert judged is not None
        right.append(judged.together.argmax(1) == judged.targets)
    won, lost = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    assert won + lost > 0
    assert pair.rows == len(right[0])
    assert pair.difference.value == pytest.approx((won - lost) / pair.rows)
    assert pair.scores == (right[0].mean(), right[1].mean())
    assert pair.difference.low is not None and pair.difference.high is not None
    assert pair.tied == (pair.difference.low <= 0.0 <= pair.difference.high)
    (line,) = pairs_lines(found)
    assert (pair.words in line) and score_text(pair.scores[0]) in line


def test_without_files_the_best_trials_are_compared(ran: Ran, tmp_path: Path) -> None:
    places = dataclasses.replace(ran.places, artifacts=tmp_path)
    (pair,) = read_comparison(ran.store, ran.names, places=places, load=load).pairs
    assert "best trials" in pair.on
    marks = [ran.store.trials(job).leaderboard()[0].marks for job in ran.jobs]
    shares = [each.share for each in marks if each is not None]
    assert pair.difference.value == pytest.approx(shares[0] - shares[1])


def test_jobs_on_other_rows_are_not_compared(ran: Ran, tmp_path: Path) -> None:
    data = load_data("digits", cache=CACHE)
    path = tmp_path / "half.npz"
    np.savez(path, images=data.train_images[:600], labels=data.train_labels[:600])
    store, other, _ = prepared(ran.folder, data=str(path))
    store.close()
    names = [ran.names[0], other.id]
    found = read_comparison(ran.store, names, places=ran.places, load=load)
    assert found.pairs == ()
    assert found.apart[0] == (
        f"{names[0]} and {names[1]} were run on other rows, so their scores cannot be compared"
    )


def test_jobs_by_other_metrics_are_not_compared(ran: Ran) -> None:
    store, other, _ = prepared(ran.folder, metric="log_loss")
    store.close()
    names = [ran.names[0], other.id]
    found = read_comparison(ran.store, names, places=ran.places, load=load)
    assert found.pairs == () and "are judged by accuracy and log_loss" in found.apart[0]


def test_another_metric_is_compared_over_rows_drawn_again() -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 3, 400)
    sure = np.full((400, 3), 0.1, dtype=np.float32)
    sure[np.arange(400), targets] = 0.8
    unsure = np.full((400, 3), 1 / 3, dtype=np.float32)
    better = paired(METRICS["log_loss"], targets, sure, unsure, seed=0)
    assert better.share == pytest.approx(np.log(0.8) - np.log(1 / 3), abs=1e-5)
    assert not better.tied
    noisy = unsure + generator.normal(0, 0.01, unsure.shape).astype(np.float32)
    same = paired(METRICS["log_loss"], targets, unsure, noisy / noisy.sum(1)[:, None], seed=0)
    assert same.tied


def test_a_page_needs_no_network(found: Comparison) -> None:
    page = comparison_page(found)
    assert (
        "http:" not in page
        and "https:" not in page
        and "<script" not in page
        and "src=" not in page
    )
    for side in found.sides:
        assert side.job in page and score_text(side.test.value) in page  # type: ignore[union-attr]


def test_the_command_prints_json_and_writes_a_page(
    ran: Ran, found: Comparison, tmp_path: Path
) -> None:
    given = ["--store", ran.store.url, "--artifacts", str(ran.folder / "artifacts")]
    out = tmp_path / "c.html"
    told = CliRunner().invoke(app, ["compare", *ran.names, *given, "--json", "--out", str(out)])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout) == json.loads(json.dumps(found.json()))
    assert out.read_text() == comparison_page(found)


def test_what_cannot_be_compared_is_refused(ran: Ran) -> None:
    for names in (ran.names[:1], [ran.names[0]] * 2):
        with pytest.raises(InputError, match="compare needs two different jobs, but got"):
            read_comparison(ran.store, names, places=ran.places, load=load)
    with pytest.raises(JobError, match="no job 'nobody'"):
        read_comparison(ran.store, [ran.names[0], "nobody"], places=ran.places, load=load)
