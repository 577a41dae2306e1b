"""What a person asks of a search, in options and job files, is understood or refused."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.durations import parse_duration
from search.job import Job
from search.job_spec import DEFAULT_BUDGET, JobSpec
from search.machine import usable_cores, usual_workers
from search.pruning import PRUNINGS, Pruning
from spaces.cnn import CnnSpace
from spaces.errors import JobError
from tests.refusals import one_line

# --- the job as it is stated -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90.0),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("1h2m3s", 3723.0),
        ("1.5h", 5400.0),
        (" 2H ", 7200.0),
        ("90", 90.0),
        ("90.5", 90.5),
        (600, 600),
        (45.5, 45.5),
        (None, None),
    ],
)
def test_durations(text: Any, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "h", "10 m", "-5m", "1d", "10m5", "1e3s", [1]])
def test_what_is_no_duration_is_refused(text: Any) -> None:
    with pytest.raises(JobError) as refusal:
        JobSpec.parse({"data": "digits", "budget": text})
    assert "must look like 90s, 10m or 1h30m, but got" in one_line(refusal)
    assert repr(text) in one_line(refusal)


@pytest.mark.parametrize(
    ("limits", "budget", "trials"),
    [
        ({}, DEFAULT_BUDGET, None),
        ({"budget": None}, DEFAULT_BUDGET, None),
        ({"trials": 5}, None, 5),
        ({"budget": "1m"}, 60.0, None),
        ({"budget": "1m", "trials": 5}, 60.0, 5),
        ({"max_epochs": 40}, None, None),
    ],
)
def test_a_job_without_any_limit_has_the_default_budget(
    limits: dict[str, Any], budget: float | None, trials: int | None
) -> None:
    spec = JobSpec.parse({"data": "digits", **limits})
    assert (spec.budget, spec.trials) == (budget, trials)


@pytest.mark.parametrize(
    ("cores", "workers", "seconds"), [(4, None, 150.0), (4, 1, 150.0), (4, 3, 200.0), (2, 8, 300.0)]
)
def test_a_device_budget_becomes_time_for_the_cores_that_work(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int | None, seconds: float
) -> None:
    for module in ("machine", "job_spec"):
        monkeypatch.setattr(f"search.{module}.usable_cores", lambda: cores)
    asked = {"data": "digits", "device_budget": "10m", "workers": workers}
    spec = JobSpec.parse(asked)
    assert (spec.budget, spec.trials) == (seconds, None)
    assert JobSpec.parse({**asked, "budget": "90s"}).budget == 90.0
    monkeypatch.setattr("search.job_spec.usable_cores", lambda: 64)  # the promise stays
    assert JobSpec.from_json(spec.to_json()) == spec


def test_a_device_budget_must_be_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("machine", "job_spec"):
        monkeypatch.setattr(f"search.{module}.usable_cores", lambda: 4)
    with pytest.raises(JobError, match="at least 20 seconds, but 60 of 4 devices are 15"):
        JobSpec.parse({"data": "digits", "device_budget": "60s"})


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"device_budget": -1}, "must be some seconds, but got -1"),
        ({"max_epochs": 0}, "max_epochs: input should be greater than or equal to 1, but got 0"),
        ({"max_epochs": 12}, "must allow a trial, of 13 epochs, but got 12"),
        ({"budget": "19s"}, "at least 20 seconds, but got 19"),
        ({"budget": -600}, "at least 20 seconds, but got -600"),
        ({"budget": math.nan}, "budget: "),
        ({"budget": math.inf}, "budget: "),
        ({"trials": 0}, "trials: input should be greater than or equal to 1, but got 0"),
        ({"trials": 1.5}, "but got 1.5"),
        ({"folds": 0}, "folds: input should be greater than or equal to 1, but got 0"),
        ({"folds": 51}, "but got 51"),
        ({"seed": -1}, "seed: "),
        ({"seed": 2**31}, "but got 2147483648"),
        ({"keep": 0}, "keep: "),
        ({"strategy": "grid"}, "but got 'grid'"),
        ({"pruning": "asha"}, "but got 'asha'"),
        ({"pruning": "median", "discard_after": 2}, "belongs to the pruning 'discard', but this"),
        ({"minimize": "watts"}, "minimize: "),
        ({"minimize": "macs", "strategy": "greedy"}, "with minimize, strategy must be one of auto"),
        (
            {"minimize": "macs", "pruning": "median"},
            "with minimize, pruning must be one of",
        ),
        ({"tolerance": -1}, "tolerance: "),
        ({"max_latency": 0}, "max_latency: "),
        ({"name": "two words"}, "but got 'two words'"),
        ({"name": "two\nlines"}, r"but got 'two\nlines'"),
        ({"name": ""}, "name: "),
        ({"data": ""}, "data: "),
        ({"data": 3}, "data: input should be a valid string, but got 3"),
        ({"budgte": 60}, "budgte: unknown key 'budgte'; did you mean 'budget'?"),
        ({"space": {"widths": [8]}}, "space.widths: unknown key 'widths'; did you mean 'width'?"),
        (
            {"space": {"recipe": {"batch_size": [8]}}},
            "space.recipe.batch_size: unknown key 'batch_size'; did you mean 'batch_sizes'?",
        ),
        ({"space": {"xyz": 1}}, "unknown key 'xyz'; known: activations, block_rule, blocks"),
        ({"space": {"depth": [1, 2, 3]}}, "space.depth: "),
        ({"space": 3}, "but got 3"),
        ({"space": "resnet19"}, "space: a space must be keys, a YAML file, package.module:Object"),
        ({"space": {"kind": "cnnn"}}, "but got {'kind': 'cnnn'}"),
        ({"space": {"kind": "scaled"}}, "space.base: this key is required"),
        ({"space": {"kind": "scaled", "base": "x"}}, "space.base: there is no network named 'x'"),
        (
            {"space": {"kind": "scaled", "base": "nin", "width": [1]}},
            "space.width: unknown key 'width'; did you mean 'widths'?",
        ),
        ({"space": "os:nothing"}, "a space must be importable: os:nothing: AttributeError"),
        ({"space": "os:path"}, "os:path: a space must have a method suggest, but has none"),
    ],
)
def test_a_job_that_breaks_a_rule_is_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError) as refusal:
        JobSpec.parse({"data": "digits", **keys}, where="job file a.yaml")
    message = one_line(refusal)
    assert said in message and message.startswith("job file a.yaml: ")


def test_a_job_survives_json() -> None:
    spec = JobSpec.parse({"data": "digits", "budget": "10m", "space": {"kernels": [3, 7]}})
    assert JobSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("keys", "title"),
    [
        ({"data": "digits"}, "digits"),
        ({"data": "digits", "name": "mine"}, "mine"),
        ({"data": "/some/where/my cats & dogs.npz"}, "my-cats-dogs"),
    ],
)
def test_a_job_is_called_after_its_data_unless_named(keys: dict[str, Any], title: str) -> None:
    assert JobSpec.parse(keys).title == title


@pytest.mark.parametrize(("budget", "left"), [("10m", 500.0), (None, math.inf)])
def test_a_row_becomes_a_job_that_knows_what_is_left(budget: str | None, left: float) -> None:
    spec = JobSpec.parse({"data": "digits", "budget": budget, "trials": 3})
    row = SimpleNamespace(
        id="digits-1",
        state="failed",
        priority=2,
        spec=spec.to_json(),
        plan=None,
        error="no luck",
        created_at=1.0,
        seconds_used=100.0,
        phases={"searching": 4.0},
        result=None,
        paused=False,
        processor_seconds=150.0,
        processor_phases={"searching": 3.0},
    )
    job = Job.from_row(row)
    assert job.spec == spec and job.plan is None and job.phases == {"searching": 4.0}
    assert job.ended and job.seconds_left == left


# --- job files -------------------------------------------------------------------------------


def write(folder: Path, text: str) -> Path:
    path = folder / "search.yaml"
    path.write_text(text)
    return path


def test_a_job_file_with_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, "data: digits\nbudget: 1h30m\nseed: 3\nspace: {kernels: [3]}\n")
    spec = JobSpec.read(path, overrides={"seed": 7, "budget": "2m"})
    assert (spec.seed, spec.budget, spec.space) == (7, 120.0, CnnSpace(kernels=(3,)))
    assert JobSpec.read(path).budget == 5400.0


def test_relative_data_lie_beside_the_job_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, elsewhere = tmp_path / "jobs", tmp_path / "elsewhere"
    for made in (folder, elsewhere):
        made.mkdir()
    path = write(folder, "data: sub/images.npz\n")
    monkeypatch.chdir(elsewhere)
    assert JobSpec.read(path).data == str(folder / "sub" / "images.npz")
    monkeypatch.chdir(folder)
    assert JobSpec.read(Path("search.yaml")).data == str(folder / "sub" / "images.npz")


def test_relative_data_of_an_option_lie_where_the_person_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs").mkdir()
    path = write(tmp_path / "jobs", "data: digits\n")
    monkeypatch.chdir(tmp_path)
    assert JobSpec.read(path, overrides={"data": "a.npz"}).data == str(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("source", "expected"),
    [("digits", "digits"), ("fashion-mnits", "fashion-mnits"), ("/data/a.npz", "/data/a.npz")],
)
def test_names_and_absolute_paths_stay_as_they_are(
    source: str, expected: str, tmp_path: Path
) -> None:
    assert JobSpec.read(write(tmp_path, f"data: {source}\n")).data == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: [", "must be YAML"),
        ("data: digits\n  seed: 3", "must be YAML"),
        ("x: !!python/object/apply:os.getcwd []", "must be YAML"),
        ("data: digits\nname: 2024-13-45", "must be YAML"),
        ("- digits", "must hold keys and values"),
        ("", "must hold keys and values"),
        ("digits", "holds none"),
        ("seed: 3", "data: this key is required"),
        ("data: digits\nsede: 3", "sede: unknown key 'sede'; did you mean 'seed'?"),
        ("data: digits\n1: 2", "but got 1"),
        ("data: ~no-such-user-here/a.npz", "~no-such-user-here"),
    ],
)
def test_a_bad_job_file_is_named_with_its_fault(text: str, said: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(JobError) as refusal:
        JobSpec.read(path)
    assert said in one_line(refusal) and str(path) in one_line(refusal)


def test_a_job_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"data: \xe9")
    for path in (tmp_path / "missing.yaml", latin):
        with pytest.raises(JobError) as refusal:
            JobSpec.read(path)
        assert f"must be readable: {path}" in one_line(refusal)
    for path in (tmp_path, Path("digits")):
        with pytest.raises(JobError, match=f"did you mean --data {path}"):
            JobSpec.read(path)


@pytest.mark.parametrize(
    ("gpu", "visible", "expected"),
    [(True, None, 2), (True, "", 8), (True, "-1", 8), (True, "0", 2), (False, None, 8)],
)
def test_a_gpu_that_can_be_used_has_two_workers(
    gpu: bool,
    visible: str | None,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / ("nvidia3" if gpu else "nvidiactl")).touch()
    monkeypatch.setattr("search.machine.DEVICES", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert usual_workers() == expected


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 6),
        ({"cpu.max": "max 100000"}, 6),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "290000 100000"}, 2),
        ({"cpu.max": "1000 100000"}, 1),
        ({"pod/cpu.max": "400000 100000", "pod/box/cpu.max": "max 100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 6),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu.max": "broken"}, 6),
    ],
    ids=str,
)
def test_a_containers_share_of_the_cores_counts(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    (tmp_path / "own").write_text("0::/pod/box\n1:cpu,cpuacct:/elsewhere\n")
    monkeypatch.setattr("search.control_groups.ROOT", tmp_path)
    monkeypatch.setattr("search.control_groups.OWN", tmp_path / "own")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)))
    assert usable_cores() == cores


@pytest.mark.parametrize("pruning", PRUNINGS)
def test_a_job_comes_back_from_the_store_as_it_was(pruning: Pruning) -> None:
    spec = JobSpec.parse({"data": "digits", "pruning": pruning, "search_epochs": 8})
    assert JobSpec.from_json(spec.to_json()) == spec
    assert spec.validation_interval == (1 if spec.judges_epochs else None)
    assert (spec.rung == 2) is (pruning == "discard")
    assert [spec.rung_of(n) for n in (1, 4, 16)] == ([1, 1, 4] if spec.rung else [0, 0, 0])
