"""A model leaves the service: graphs that say what its networks say, and the proof of it."""

import csv
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from athanor.exporting import FORMAT_NAMES, ExportOptions, parse_formats, run_export
from athanor.landing_again import spec_of
from athanor.places import Places
from benchmarks.models_out import FRESH
from search.folds import ALL_ROWS, JUDGING_FOLD
from search.job import Job
from search.store import StudyStore
from spaces.errors import InputError, JobError, JobFailed, ModelFolderError
from tests.refusals import one_line
from tests.small_job import CACHE, bench_of, prepared, resume, worked
from workers import clean_check, graphs
from workers.comparison import clean_answer
from workers.data import load_data
from workers.export import FORMATS
from workers.files import PREDICTIONS
from workers.model_choice import JobToExport, write_networks
from workers.model_folder import load_model, read_manifest, write_manifest
from workers.reverification import verify_folder
from workers.search_rows import search_rows
from workers.standalone import INT8, ONNX, PROGRAM, Unusable, check_program, load, read_image
from workers.steps import next_step


def silent(text: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Exported:
    """A job of two trials, and its ensemble in every format."""

    job: Job
    places: Places
    folder: Path

    def export(
        self, out: Path, *, formats: tuple[str, ...] = ("safetensors",), **more: Any
    ) -> Path:
        """Export something else of the job."""
        options = {"overwrite": False, **more}
        run_export(self.places, self.job.id, ExportOptions(out=out, formats=formats, **options))
        return out


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    root = tmp_path_factory.mktemp("exported")
    job, _ = worked(root, trials=2, finalists=1, folds=2, search_epochs=2)
    places = Places(f"sqlite:///{root}/athanor.db", root / "artifacts", CACHE)
    made = Exported(job, places, root / "model")
    made.export(made.folder, formats=FORMAT_NAMES, licence="CC0-1.0")
    return made


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return load_data("digits", cache=CACHE).test_images[:70]


def test_every_format_has_a_name_on_the_command_line() -> None:
    assert set(FORMATS) == set(FORMAT_NAMES)
    assert parse_formats("onnx, onnx-int8") == ("onnx", "onnx-int8")
    with pytest.raises(InputError, match="did you mean 'onnx'"):
        parse_formats("safetensors,onxx")


@pytest.mark.parametrize("name", [ONNX, PROGRAM])
@pytest.mark.parametrize("rows", [1, 2, 70])
def test_graphs_say_what_the_networks_say(
    exported: Exported, images: NDArray[np.uint8], name: str, rows: int
) -> None:
    expected = load_model(exported.folder).predict(images[:rows])
    found = load(exported.folder / name)(images[:rows])
    assert found.dtype == np.float32 and found.shape == (rows, 10)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_eight_bits_are_no_copy_of_the_floats_and_still_right(
    exported: Exported, images: NDArray[np.uint8]
) -> None:
    expected = load_model(exported.folder).predict(images)
    found = load(exported.folder / INT8)(images)
    assert 1e-4 < np.abs(found - expected).max() < 0.3
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.95


def test_graphs_name_no_file_of_the_machine_that_wrote_them(exported: Exported) -> None:
    for name in (ONNX, INT8):
        assert b"/site-packages/" not in (exported.folder / name).read_bytes()
    with zipfile.ZipFile(exported.folder / PROGRAM) as archive:
        assert not any(b"/site-packages/" in archive.read(member) for member in archive.namelist())


def test_the_folder_says_what_it_is_and_how_it_was_verified(exported: Exported) -> None:
    verification = json.loads((exported.folder / "verification.json").read_text())
    assert set(verification["files"]) == {"safetensors", PROGRAM, ONNX, INT8}
    for name in (PROGRAM, ONNX):
        assert verification["files"][name]["max_difference"] <= 1e-4
    for told in verification["files"].values():
        assert told["latency_1"] > 0.0 and told["latency_64"] > 0.0 and told["bytes"] > 0
        assert told["peak_memory"] > 2**24
    card = (exported.folder / "README.md").read_text()
    result = exported.job.result
    assert result is not None
    low, high = result["test_interval"]
    for said in ("CC0-1.0", f"accuracy {result['test_accuracy']:.4f}", f"{low:.4f} to {high:.4f}"):
        assert said in card
    assert all(name in card for name in ("predict.py", PROGRAM, ONNX, INT8))
    manifest = read_manifest(exported.folder)
    files = {path.name for path in exported.folder.iterdir()}
    assert files == {*manifest.files, "model.json"}


def test_the_folder_s_script_says_what_the_command_says(exported: Exported, tmp_path: Path) -> None:
    """It is run without the environment's hooks, so that it has nothing of ours to import."""
    random = np.random.default_rng(0)
    shapes = {"L": (8, 8), "RGB": (31, 17, 3), "RGBA": (9, 40, 4)}
    folder = tmp_path / "images"
    (folder / "deeper").mkdir(parents=True)
    for mode, shape in shapes.items():
        pixels = random.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels, mode).save(folder / "deeper" / f"{mode}.png")
    Image.fromarray(random.integers(0, 256, (50, 20, 3), dtype=np.uint8)).save(folder / "a.jpg")
    (folder / "broken.png").write_bytes((folder / "deeper" / "RGB.png").read_bytes()[:60])
    site = next(path for path in sys.path if path.endswith("site-packages"))
    start = f"import sys, runpy; sys.path.append({site!r}); sys.argv = sys.argv[1:]; "
    start += "runpy.run_path(sys.argv[0], run_name='__main__')"
    script = [sys.executable, "-I", "-S", "-c", start, str(exported.folder / "predict.py")]
    done = subprocess.run([*script, "images"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1 and "skipped: images/broken.png" in done.stderr
    rows = list(csv.reader(done.stdout.splitlines()))
    found = np.array([row[3:] for row in rows[1:]], dtype=float)
    model = load_model(exported.folder)
    paths = [tmp_path / row[0] for row in rows[1:]]
    assert len(paths) == 4
    shape = model.manifest.image_shape
    expected = model.predict(np.stack([read_image(path, image_shape=shape) for path in paths]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert [row[1] for row in rows[1:]] == [str(best) for best in expected.argmax(1)]
    only_broken = [*script, "images/broken.png", "--json", "--out", "answer.json"]
    done = subprocess.run(only_broken, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and json.loads((tmp_path / "answer.json").read_text()) == []


def copy_of(exported: Exported, target: Path, *, names: tuple[str, ...]) -> Path:
    """Copy some files of the folder besides those that every folder has."""
    target.mkdir()
    manifest = read_manifest(exported.folder)
    kept = [*names, "samples.npz", *(entry.file for entry in manifest.networks)]
    for name in kept:
        (target / name).write_bytes((exported.folder / name).read_bytes())
    write_manifest(target, manifest)
    return target


def test_what_was_altered_later_is_noticed(exported: Exported, tmp_path: Path) -> None:
    folder = copy_of(exported, tmp_path / "altered", names=(ONNX,))
    found = verify_folder(folder, tell=silent)
    assert set(found["files"]) == {"safetensors", ONNX}
    assert found["rows"] == 64 and found["hashes"] == len(read_manifest(folder).files)
    content = (folder / ONNX).read_bytes()
    (folder / ONNX).write_bytes(content[:-1])
    with pytest.raises(ModelFolderError, match=r"model\.onnx must have SHA-256") as refusal:
        verify_folder(folder, tell=silent)
    one_line(refusal)
    (folder / ONNX).unlink()
    with pytest.raises(ModelFolderError, match=r"model\.onnx must be readable"):
        verify_folder(folder, tell=silent)
    (folder / ONNX).write_bytes(content)
    manifest = read_manifest(folder)
    write_manifest(folder, manifest.model_copy(update={"temperature": 3.0 * manifest.temperature}))
    with pytest.raises(JobFailed, match=r"to 0\.0001, but a prediction differs by 0\."):
        verify_folder(folder, tell=silent)


def test_nothing_is_published_if_a_graph_says_something_else(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = graphs.write_onnx

    def another(model: Any, folder: Path) -> None:
        manifest = model.manifest.model_copy(update={"temperature": 2.5})
        write(type(model)(manifest, model.networks, model.plan), folder)

    monkeypatch.setattr("workers.graphs.write_onnx", another)
    (tmp_path / "out").mkdir()
    with pytest.raises(JobFailed, match=r"model\.onnx must predict as .* but a prediction differs"):
        exported.export(tmp_path / "out" / "model", formats=("onnx",))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_clean_process_cannot_import_what_is_ours(exported: Exported, tmp_path: Path) -> None:
    answer = clean_answer(exported.folder / ONNX, np.zeros((1, 8, 8, 1), dtype=np.uint8))
    assert answer.predictions.shape == (1, 10)
    script = tmp_path / "script.py"
    script.write_text("import workers.standalone\n")
    np.savez(tmp_path / "request.npz", images=np.zeros((1, 8, 8, 1), dtype=np.uint8))
    site = [path for path in sys.path if path.endswith("site-packages")]
    ours = str(Path(clean_check.__file__).parents[1])  # even with our own folder on the path
    files = [exported.folder / ONNX, tmp_path / "request.npz", tmp_path / "answer.npz", script]
    command = [sys.executable, "-I", "-S", clean_check.__file__, *map(str, files), *site, ours]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0 and "workers is refused" in done.stderr


@pytest.fixture(scope="module")
def source(exported: Exported) -> Iterator[JobToExport]:
    store = StudyStore(exported.places.store_url)
    data = load_data("digits", cache=CACHE)
    yield JobToExport(store, exported.job, root=exported.places.artifacts, data=data)
    store.close()


def test_the_best_network_is_that_with_the_best_fold(source: JobToExport, tmp_path: Path) -> None:
    manifest = write_networks(source, "best", tmp_path)
    (network,) = manifest.networks
    tasks = [t for t in source.store.folds.all(source.job.id) if t.done and t.fold > JUDGING_FOLD]
    best = max(tasks, key=lambda task: task.score or 0.0)
    assert (network.trial, network.fold, network.weight) == (best.trial, best.fold, 1.0)
    assert manifest.scores["out_of_fold_accuracy"] == pytest.approx(best.score)
    low, high = manifest.scores["out_of_fold_interval"]
    assert low < manifest.scores["out_of_fold_score"] < high


def test_any_trial_can_be_exported_as_it_was_judged(source: JobToExport, tmp_path: Path) -> None:
    finalists = {task.trial for task in source.done}
    record = next(r for r in source.records if r.state == "complete" and r.number not in finalists)
    manifest = write_networks(source, str(record.number), tmp_path)
    write_manifest(tmp_path, manifest)
    assert manifest.scores["validation_score"] == record.score
    assert source.job.plan is not None
    _, rows = search_rows(source.data, source.folds, source.job.plan, seed=source.job.spec.seed)
    judged = np.load(source.files.folder / str(record.files) / PREDICTIONS, allow_pickle=False)
    found = load_model(tmp_path).predict(source.data.train_images[rows])
    # the search may have computed in fewer bits
    np.testing.assert_allclose(found, judged, atol=0.03)


def test_a_finalist_is_exported_with_its_folds(source: JobToExport, tmp_path: Path) -> None:
    finalist = source.done[0].trial
    first, second = write_networks(source, str(finalist), tmp_path).networks
    assert (first.trial, first.fold, first.weight) == (finalist, 1, 0.5)
    assert (second.trial, second.fold, second.weight) == (finalist, 2, 0.5)


def test_trials_can_be_exported_while_the_search_goes_on(tmp_path: Path) -> None:
    store, job, worker = prepared(tmp_path, trials=2)
    with bench_of(store, job, worker) as bench:
        next_step(bench, "searching")
        record = next(r for r in bench.trials.records() if r.state == "complete")
        going_on = JobToExport(store, store.jobs.get(job.id), bench.files.root, bench.data)
        assert going_on.job.state == "searching"
        (network,) = write_networks(going_on, str(record.number), tmp_path).networks
        assert record.candidate is not None
        assert network.architecture == record.candidate.architecture
        with pytest.raises(JobError, match="only a job that is done has a model"):
            write_networks(going_on, "ensemble", tmp_path)
        with pytest.raises(JobError, match="must have finished a fold"):
            write_networks(going_on, "best", tmp_path)
    store.close()


def test_the_best_trials_get_a_folder_each(exported: Exported, tmp_path: Path) -> None:
    folder = exported.export(tmp_path / "top", top=1, samples=False)
    (entry,) = json.loads((folder / "models.json").read_text())
    store = StudyStore(exported.places.store_url)
    best = store.trials(exported.job).leaderboard()[0]
    store.close()
    assert (entry["trial"], entry["score"]) == (best.number, best.score)
    assert read_manifest(folder / entry["folder"]).networks[0].trial == best.number
    assert not {path.suffix for path in (folder / entry["folder"]).iterdir()} & {".onnx", ".py"}
    found = verify_folder(folder / entry["folder"], tell=silent)  # hashes alone
    assert found["rows"] == 0 and found["hashes"] >= 3
    with pytest.raises(InputError, match="must not exist yet"):
        exported.export(folder, top=1)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"model": "7"}, "ensemble, best, distilled or a trial of 0 to"),
        ({"model": "bset"}, "but got bset"),
        ({"model": "distilled"}, "must have been distilled, but was not: athanor distill"),
        ({"top": 50}, r"--top must be at most \d+, the trials of"),
        ({"top": 1, "model": "best"}, "but got both"),
    ],
)
def test_what_cannot_be_exported(
    exported: Exported, tmp_path: Path, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises((JobError, InputError), match=said) as refusal:
        exported.export(tmp_path / "none", **asked)
    one_line(refusal)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("models/model.json", b"torch.ops.aten.relu.default", b"torch.hub.load", "calls torch.hub"),
        ("models/model.json", b"aten.relu.default", b"aten.from_file.default", "calls torch.ops"),
        ("model_weights_config.json", b'"use_pickle": false', b'"use_pickle": true', "is pickled"),
        ("data/sample_inputs/model.pt", b"", b"pickle", "but has data/sample_inputs"),
        ("models/model.json", b'"Symbol(', b'"__import__(1)*Symbol(', "by numbers and symbols"),
        ("models/model.json", b'"guards_code": []', b'"guards_code": ["1"]', "but has guards"),
        ("models/model.json", b"builtins.dict", b"collections.defaultdict", "of plain kinds"),
        ("data/constants/custom_obj_0", None, b"pickle", "but has data/constants/custom_obj_0"),
        ("data/aotinductor/model/a.so", None, b"code", "but has data/aotinductor"),
    ],
)
def test_a_program_that_could_run_something_is_refused(
    exported: Exported, tmp_path: Path, name: str, old: bytes | None, new: bytes, said: str
) -> None:
    hostile = tmp_path / "hostile.pt2"
    with zipfile.ZipFile(exported.folder / PROGRAM) as good, zipfile.ZipFile(hostile, "w") as bad:
        for member in good.namelist():
            content = good.read(member)
            if old is not None and member.endswith(name):
                assert old in content
                content = content.replace(old, new, 1)
            bad.writestr(member, content)
        if old is None:
            bad.writestr(f"model/{name}", new)
    check_program(exported.folder / PROGRAM)
    with pytest.raises(Unusable, match=said):
        check_program(hostile)


@pytest.mark.slow
def test_a_fresh_environment_gets_the_accuracy_that_the_search_stated(
    exported: Exported, tmp_path: Path
) -> None:
    """One that has numpy, pillow and onnxruntime alone; it is installed from the package index."""
    problems = FRESH.install()
    assert not problems
    data = load_data("digits", cache=CACHE)
    (tmp_path / "images").mkdir()
    for row, pixels in enumerate(data.test_images[..., 0]):
        Image.fromarray(pixels).save(tmp_path / "images" / f"{row:03d}.png")
    command = [str(FRESH.python), "-I", str(exported.folder / "predict.py"), "images"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(done.stdout.splitlines()))
    right = [
        row["class"] == data.class_names[label]
        for row, label in zip(rows, data.test_labels, strict=True)
    ]
    assert exported.job.result is not None
    assert sum(right) / len(right) == exported.job.result["test_accuracy"]


@pytest.mark.slow
def test_what_a_job_has_been_distilled_to(
    exported: Exported, source: JobToExport, tmp_path: Path
) -> None:
    spec = spec_of(exported.job, {"final": "refit", "distills": 0})
    store = StudyStore(exported.places.store_url)
    student = store.jobs.create(spec)
    store.close()
    resume(exported.places.artifacts.parent, student.id)
    (tmp_path / "by its teacher").mkdir()
    manifest = write_networks(source, "distilled", tmp_path / "by its teacher")
    assert manifest.job == student.id
    assert [(network.trial, network.fold) for network in manifest.networks] == [(0, ALL_ROWS)]
    job = source.store.jobs.get(student.id)
    own = JobToExport(source.store, job, root=source.root, data=source.data)
    assert write_networks(own, "distilled", tmp_path).networks == manifest.networks
