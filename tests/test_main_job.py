"""The way of a whole job through the command line, in processes of their own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from athanor.progress import Progress
from search.baselines import BASELINES
from search.row_sketch import RowSketch
from search.store import StudyStore
from tests.command import LIMIT_SECONDS, asked, athanor, on_one_core, result_of, worker_processes
from workers.model_folder import read_manifest

POLL_SECONDS = 0.1
JOB = """\
data: digits
trials: {trials}
workers: {workers}
seed: 3
folds: 3
search_epochs: 3
validate_every: 1
space: {{width: [8, 12], stages: [2, 3], depth: [1, 2], hidden: [0, 16]}}
"""
PLAIN_JOB = f"{JOB}baselines: false\n"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder in which one small search has been run to its end, and what it printed."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "job.yaml").write_text(JOB.format(trials=10, workers=2))
    process = athanor("search", "job.yaml", "--out", "best", "--json", cwd=folder)
    return folder, result_of(process)


def test_a_search_lands_with_an_ensemble_of_every_fold(
    searched: tuple[Path, dict[str, Any]],
) -> None:
    folder, found = searched
    assert found["state"] == "done"
    assert found["result"]["folds"] == 3
    assert found["result"]["test_accuracy"] > 0.9
    low, high = found["result"]["test_interval"]
    assert low < found["result"]["test_accuracy"] < high
    assert 0.0 < found["processor_phases"]["landing"] < found["processor_seconds"] < 600.0
    trained = [trial for trial in found["leaderboard"] if trial["curve"]]
    assert sum(trial["state"] == "pruned" for trial in trained) >= 1
    manifest = json.loads((folder / "best" / "model.json").read_text())
    assert len(manifest["networks"]) == found["result"]["networks"]
    assert sum(network["weight"] for network in manifest["networks"]) == pytest.approx(1.0)
    assert {path.name for path in (folder / "best").iterdir()} == {
        "model.json",
        *(network["file"] for network in manifest["networks"]),
    }


def test_exactly_the_trials_that_were_asked_for_are_run(
    searched: tuple[Path, dict[str, Any]],
) -> None:
    folder, found = searched
    store = StudyStore(f"sqlite:///{folder}/athanor-runs/athanor.db")
    records = store.trials(store.jobs.get(found["job"])).records()
    assert sum(record.state != "infeasible" for record in records) == 10
    assert all(record.state not in ("running", "waiting") for record in records)
    for record in records:
        if record.state == "complete":
            artifacts = folder / "athanor-runs" / "artifacts" / found["job"]
            assert (artifacts / str(record.files) / "validation.npy").is_file()


def test_predicting_gives_the_accuracy_that_the_search_printed(
    searched: tuple[Path, dict[str, Any]],
) -> None:
    folder, found = searched
    predicted = result_of(athanor("predict", "best", "digits", "--json", cwd=folder))
    assert predicted["accuracy"] == found["result"]["test_accuracy"]


def test_images_and_arrays_predict_alike(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = searched
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    np.savez(folder / "images.npz", images=images)
    names = [f"image-{row}.png" for row in range(3)]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / name)
    from_arrays = result_of(athanor("predict", "best", "images.npz", "--json", cwd=folder))
    from_files = athanor("predict", "best", *names, cwd=folder).stdout.splitlines()
    assert from_files[0].startswith("image,class,probability,0,1,2")
    for row, predicted in zip(from_files[1:], from_arrays["predictions"], strict=True):
        assert row.split(",")[1] == predicted["class"]
        assert float(row.split(",")[2]) == pytest.approx(predicted["probability"], abs=1e-5)


def test_the_test_set_was_opened_once(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, found = searched
    store = StudyStore(f"sqlite:///{folder}/athanor-runs/athanor.db")
    manifest = json.loads((folder / "best" / "model.json").read_text())
    openings = store.test.all(RowSketch(manifest["protocol"]["test_fingerprint"]))
    assert [opening.job_id for opening in openings] == [found["job"]]
    assert openings[0].score == found["result"]["test_accuracy"]


def test_leaderboard_names_the_best_trial_and_its_curve(
    searched: tuple[Path, dict[str, Any]],
) -> None:
    folder, found = searched
    board = result_of(asked("leaderboard", found["job"], "--json", cwd=folder))
    best = board["trials"][0]
    assert best["trial"] == board["best_trial"]
    ties = {t["trial"] for t in board["trials"] if t["behind"] is not None and t["behind"]["tied"]}
    assert set(board["tied"]) == ties | {best["trial"]}
    for other in board["trials"][1:]:
        if other["behind"] is not None:
            lead = best["score"] - other["score"]
            assert other["behind"]["share"] == pytest.approx(-lead, abs=1e-6)
    assert [baseline["name"] for baseline in board["baselines"]] == list(BASELINES)
    assert all(0.5 < baseline["score"] < 1.0 for baseline in board["baselines"])
    assert best["score"] == max(t["score"] for t in board["trials"] if t["state"] == "complete")
    assert best["curve"][str(max(map(int, best["curve"])))] == best["score"]
    assert board["best_corrected"] == pytest.approx(best["score"], abs=0.1)
    table = asked("leaderboard", found["job"], cwd=folder)
    assert f"{best['score']:.4f}" in table.stdout


def test_influence_says_what_mattered(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, found = searched
    told = result_of(asked("influence", found["job"], "--json", cwd=folder))
    assert told["target"] == "first validation" and 8 <= told["trials"] <= 10
    names = {parameter["name"] for parameter in told["parameters"]}
    assert len(names) > 4
    assert sum(each["fanova"] for each in told["parameters"]) == pytest.approx(1.0)
    assert set(told["rank_correlation"]) == {"parameters", "macs", "early score"}
    table = asked("influence", found["job"], "--plot", "effects.svg", cwd=folder).stdout
    assert (folder / "effects.svg").read_text().count("fANOVA") == min(8, len(names))
    assert "fANOVA" in table and "rank correlation with the score: parameters" in table


def test_a_search_begins_with_what_an_earlier_one_found(
    searched: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, found = searched
    text = JOB.format(trials=12, workers=1).replace("[8, 12]", "[16, 24]")
    (tmp_path / "next.yaml").write_text(f"{text}warm_start: {found['job']}\n")
    store = f"sqlite:///{folder}/athanor-runs/athanor.db"
    given = ("submit", "next.yaml", "--json")
    submitted = asked(*given, "--store", store, "--artifacts", tmp_path / "a", cwd=tmp_path)
    job = StudyStore(store).jobs.get(result_of(submitted)["job"])
    assert job.spec.warm_start is not None and 1 <= len(job.spec.warm_start.parameters) <= 8
    assert f"of the best trials of {found['job']}" in submitted.stderr
    assert "warm start: dropped width=" in submitted.stderr
    assert "is no choice here" in submitted.stderr
    assert asked("delete", job.id, "--yes", "--store", store, cwd=tmp_path).returncode == 0
    options = ("--warm-start", "none", "--store", store)
    nowhere = athanor("search", "--data", "digits", *options, cwd=tmp_path)
    assert nowhere.returncode == 2 and "none" in nowhere.stderr


def test_workers_log_each_step_in_json(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, found = searched
    logs = folder / "athanor-runs" / "artifacts" / found["job"] / "logs"
    lines = [json.loads(line) for log in logs.iterdir() for line in log.read_text().splitlines()]
    assert {line["level"] for line in lines} <= {"info", "warning"}
    ended = [line for line in lines if line["message"] == "ended"]
    for trial in found["leaderboard"]:
        if trial["curve"]:
            (line,) = (each for each in ended if each["step"] == f"trial/{trial['trial']}")
            assert line["job"] == found["job"] and line["seconds"] > 0.0 and line["worker"]
    assert {"prepare", "assemble"} <= {line["step"] for line in ended}


def test_status_jobs_and_export_agree(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, found = searched
    assert result_of(asked("status", found["job"], "--json", cwd=folder))["state"] == "done"
    assert "test accuracy" in asked("status", found["job"], cwd=folder).stdout
    listed = json.loads(asked("jobs", "--json", cwd=folder).stdout)
    assert [job["job"] for job in listed] == [found["job"]]
    weights = ("--out", "again", "--format", "safetensors")
    assert asked("export", found["job"], *weights, cwd=folder).returncode == 0
    exported, searched_for = (read_manifest(folder / name) for name in ("again", "best"))
    assert exported.networks == searched_for.networks
    assert exported.scores == searched_for.scores
    refused = asked("export", found["job"], *weights, cwd=folder)
    assert refused.returncode == 2 and "must not exist" in refused.stderr


def test_an_altered_model_folder_is_refused(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = searched
    shutil.copytree(folder / "best", folder / "altered")
    weights = next((folder / "altered").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    refused = athanor("predict", "altered", "digits", cwd=folder)
    assert refused.returncode == 2
    assert "SHA-256" in refused.stderr and refused.stderr.count("\n") == 1


@pytest.mark.slow
def test_equal_seeds_give_equal_searches_although_the_worker_of_one_is_killed(
    tmp_path: Path,
) -> None:
    found = []
    for run in ("undisturbed", "killed"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "job.yaml").write_text(PLAIN_JOB.format(trials=8, workers=1))
        search = [sys.executable, "-m", "athanor", "search", "job.yaml", "--json", "--quiet"]
        process = subprocess.Popen(
            [*on_one_core(), *search],
            cwd=tmp_path / run,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if run == "killed":
            url = f"sqlite:///{tmp_path}/{run}/athanor-runs/athanor.db"
            for moment in (after_epochs(4), after_epochs(10), after_folds(1)):
                kill_worker(url, process, moment)
        printed, said = process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == 0, said
        found.append(json.loads(printed.splitlines()[-1]))
    trials = [
        [(t["trial"], t["state"], t["score"], t["curve"], t["candidate"]) for t in f["leaderboard"]]
        for f in found
    ]
    assert trials[0] == trials[1]
    assert len(trials[0]) >= 7  # the last ones were chosen by the sampler's model
    assert found[0]["result"]["test_accuracy"] == found[1]["result"]["test_accuracy"]


Moment = Callable[[Progress], bool]


def after_epochs(count: int) -> Moment:
    return lambda progress: sum(len(trial.curve) for trial in progress.trials) >= count


def after_folds(count: int) -> Moment:
    return lambda progress: progress.folds_done >= count


def kill_worker(url: str, process: "subprocess.Popen[str]", moment: Moment) -> None:
    """Kill a worker of a running search without warning, at its work, from some moment on."""
    follow(url, process, moment)
    with closing(StudyStore(url)) as store:
        while not (victims := worker_processes(store)):
            assert process.poll() is None, "the search ended before its worker could be killed"
            time.sleep(POLL_SECONDS)
    os.kill(victims[0], signal.SIGKILL)


def test_an_interrupted_search_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(PLAIN_JOB.format(trials=5, workers=1))
    search = [sys.executable, "-m", "athanor", "search", "job.yaml", "--out", "best", "--quiet"]
    process = subprocess.Popen(
        [*on_one_core(), *search],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    url = f"sqlite:///{tmp_path}/athanor-runs/athanor.db"
    before = follow(url, process, after_epochs(4))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"athanor search --resume {before.job.id} --out best" in said
    again = ("search", "--resume", before.job.id, "--out", "best", "--json")
    found = result_of(athanor(*again, cwd=tmp_path, start=on_one_core()))
    store = StudyStore(url)
    after = store.trials(store.jobs.get(before.job.id)).records()
    assert sum(record.state != "infeasible" for record in after) == 5
    for old, new in zip(before.trials, after, strict=False):
        if old.candidate is not None:
            assert new.candidate == old.candidate
        assert {epoch: new.curve[epoch] for epoch in old.curve} == old.curve
    assert all(record.state not in ("running", "waiting", "failed") for record in after)
    manifest = json.loads((tmp_path / "best" / "model.json").read_text())
    assert len(store.test.all(RowSketch(manifest["protocol"]["test_fingerprint"]))) == 1
    assert found["state"] == "done"


def follow(url: str, process: "subprocess.Popen[str]", moment: Moment) -> Progress:
    """Follow a running search until a moment; return how far it is."""
    path = Path(url.removeprefix("sqlite:///"))
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(POLL_SECONDS)
    with closing(StudyStore(url, create=True)) as store:
        while process.poll() is None:
            jobs = store.jobs.list()
            progress = Progress.read(store, jobs[0].id) if jobs else None
            if progress is not None and moment(progress):
                return progress
            time.sleep(POLL_SECONDS)
    raise AssertionError(f"the search ended before that moment: {process.communicate()[1]}")


def test_a_submitted_job_is_landed_by_a_worker_and_a_cancelled_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(PLAIN_JOB.format(trials=3, workers=2))
    landed = asked("submit", "job.yaml", cwd=tmp_path).stdout.strip()
    cancelled = asked("submit", "job.yaml", cwd=tmp_path).stdout.strip()
    assert asked("cancel", cancelled, cwd=tmp_path).returncode == 0
    assert asked("cancel", cancelled, cwd=tmp_path).returncode == 2
    work = ("worker", "--workers", "1", "--job", landed)
    worked = athanor(*work, cwd=tmp_path, start=on_one_core())
    assert worked.returncode == 0, worked.stderr
    states = {
        job["job"]: job["state"] for job in json.loads(asked("jobs", "--json", cwd=tmp_path).stdout)
    }
    assert states == {landed: "done", cancelled: "cancelled"}


def test_a_paused_job_rests_and_a_deleted_one_is_gone(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(PLAIN_JOB.format(trials=3, workers=1))
    job = asked("submit", "job.yaml", cwd=tmp_path).stdout.strip()
    assert asked("pause", job, cwd=tmp_path).returncode == 0
    assert "(paused)" in asked("status", job, cwd=tmp_path).stdout
    assert f"{job} is paused" in asked("pause", job, cwd=tmp_path).stderr
    assert asked("resume", job, cwd=tmp_path).returncode == 0
    assert asked("resume", job, cwd=tmp_path).returncode == 2
    assert json.loads(asked("workers", "--json", cwd=tmp_path).stdout) == []
    files = tmp_path / "athanor-runs" / "artifacts" / job
    files.mkdir(parents=True)
    refused = asked("delete", job, cwd=tmp_path)
    assert refused.returncode == 2 and "--yes" in refused.stderr
    assert asked("delete", job, "--yes", cwd=tmp_path).returncode == 0
    assert not files.exists()
    assert json.loads(asked("jobs", "--json", cwd=tmp_path).stdout) == []


def test_a_finished_job_is_landed_once_more_by_a_command(
    searched: tuple[Path, dict[str, Any]],
) -> None:
    folder, found = searched
    limits = ("--limit", "parameters=10m", "--limit", "latency=2s")
    told = result_of(
        athanor("ensemble", found["job"], *limits, "--out", "landed again", "--json", cwd=folder)
    )
    assert told["job"] != found["job"] and told["state"] == "done"
    result, before = told["result"], found["result"]
    assert result["out_of_fold_score"] == pytest.approx(before["out_of_fold_score"])
    assert result["networks"] == before["networks"]
    assert result["costs"]["latency"] < result["limits"]["latency"] == 2.0
    assert "test_accuracy" not in result
    assert {path.suffix for path in (folder / "landed again").iterdir()} == {
        ".json",
        ".safetensors",
    }
    refused = athanor("distill", found["job"], "--max-parameters", "3", cwd=folder)
    assert refused.returncode == 2 and "at most 3 parameters" in refused.stderr
